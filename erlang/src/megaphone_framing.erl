%%% @doc XMPP in documents, as RFC 7395 frames it: text to xmpp_stream_in's events, and its stream
%%% elements to text.
-module(megaphone_framing).

-export([decode/2, too_big/0, encode/1]).

-export_type([event/0, element/0]).

%% fxml's, whose header every distribution has at another place.
-record(xmlel, {name :: binary(),
                attrs = [] :: [{binary(), binary()}],
                children = [] :: [fxml:xmlel() | {xmlcdata, binary()}]}).

%% A document above this is parsed on a dirty scheduler (bytes): nothing but empty elements, one of
%% this size takes 1 ms.
-define(DIRTY_DOCUMENT, 16384).
-define(NS_CLIENT, <<"jabber:client">>).
-define(NS_STREAM, <<"http://etherx.jabber.org/streams">>).
-define(NS_FRAMING, <<"urn:ietf:params:xml:ns:xmpp-framing">>).

-type event() :: {xmlstreamstart, Name :: binary(), [{binary(), binary()}]}
               | {xmlstreamend, Name :: binary()}
               | {xmlstreamelement, fxml:xmlel()}
               | {xmlstreamerror, {integer(), Text :: binary()} | (Text :: binary())}.
-type element() :: {xmlstreamstart, Name :: binary(), [{binary(), binary()}]}
                 | {xmlstreamend, Name :: binary()}
                 | {xmlstreamelement, fxml:xmlel()}
                 | {redirect, Uri :: binary()}.

%% @doc What a client's document means: `<open/>' and `<close/>' are the stream's tags (RFC 7395,
%% 3.3 and 3.6), all else is an element of it. What is not well-formed, or has more elements, is an event
%% as well.
-spec decode(binary(), MaxElements :: non_neg_integer()) -> event().
decode(Document, MaxElements) ->
    case parse(Document, MaxElements) of
        #xmlel{name = <<"open">>, attrs = Attributes} = Element ->
            case fxml:get_attr_s(<<"xmlns">>, Attributes) of
                ?NS_FRAMING -> {xmlstreamstart, <<"stream:stream">>, stream_attributes(Attributes)};
                _ -> {xmlstreamelement, Element}
            end;
        #xmlel{name = <<"close">>, attrs = Attributes} = Element ->
            case fxml:get_attr_s(<<"xmlns">>, Attributes) of
                ?NS_FRAMING -> {xmlstreamend, <<"stream:stream">>};
                _ -> {xmlstreamelement, Element}
            end;
        #xmlel{} = Element ->
            {xmlstreamelement, Element};
        {error, too_big} ->
            too_big();
        {error, Text} ->
            {xmlstreamerror, {0, Text}}
    end.

%% @doc The event of a document that is larger than it may be: xmpp_stream_in knows it by its text, as
%% fxml_stream writes it, and megaphone_ejabberd_check looks whether it does.
-spec too_big() -> event().
too_big() ->
    {xmlstreamerror, <<"XML stanza is too big">>}.

%% As fxml_stream:parse_element, which makes a parser of expat for each: that takes ten times as long.
parse(Document, MaxElements) when byte_size(Document) > ?DIRTY_DOCUMENT ->
    megaphone_nif:parse_dirty(Document, MaxElements);
parse(Document, MaxElements) ->
    megaphone_nif:parse(Document, MaxElements).

stream_attributes(Attributes) ->
    [{<<"xmlns">>, ?NS_CLIENT}, {<<"xmlns:stream">>, ?NS_STREAM} | others(Attributes)].

%% @doc The document for a stream element of ours. `{redirect, Uri}' is a `<close/>' that sends the
%% client to another place (RFC 7395, 3.6.1).
-spec encode(element()) -> binary().
encode({xmlstreamstart, _Name, Attributes}) ->
    framing(<<"open">>, others(Attributes));
encode({xmlstreamend, _Name}) ->
    framing(<<"close">>, []);
encode({redirect, Uri}) ->
    framing(<<"close">>, [{<<"see-other-uri">>, Uri}]);
encode({xmlstreamelement, #xmlel{name = <<"stream:", _/binary>>, attrs = Attributes} = Element}) ->
    Others = lists:keydelete(<<"xmlns:stream">>, 1, Attributes),
    fxml:element_to_binary(Element#xmlel{attrs = [{<<"xmlns:stream">>, ?NS_STREAM} | Others]});
encode({xmlstreamelement, #xmlel{attrs = Attributes} = Element}) ->
    case lists:keymember(<<"xmlns">>, 1, Attributes) of
        true -> fxml:element_to_binary(Element);
        false -> fxml:element_to_binary(Element#xmlel{attrs = [{<<"xmlns">>, ?NS_CLIENT} | Attributes]})
    end.

framing(Name, Attributes) ->
    fxml:element_to_binary(#xmlel{name = Name, attrs = [{<<"xmlns">>, ?NS_FRAMING} | Attributes]}).

others(Attributes) ->
    lists:keydelete(<<"xmlns">>, 1, lists:keydelete(<<"xmlns:stream">>, 1, Attributes)).
