%% @doc megaphone_nif:parse/2 answers what ejabberd's own parser does for each document that XMPP allows, and
%% refuses what it refuses.
%%
%% Where no name depends on prefixes that is what fxml_stream:parse_element/1 answers. Where one does, it is
%% what ejabberd_c2s gets of an XML stream: an element is spelled by its local name and its namespace.
-module(prop_document).

-include_lib("proper/include/proper.hrl").

-export([prop_like_fxml/0, prop_broken/0, is_theirs/2]).

%% @doc Documents as XMPP allows them, written in any way.
-spec prop_like_fxml() -> proper:test().
prop_like_fxml() ->
    ?FORALL(Document, document(), prop_result:holds(fun() -> is_equal(Document) end)).

%% @doc Documents with a byte changed, left out or put in: what fxml refuses is refused here. The reverse
%% holds not, fxml takes comments, processing instructions and an XML declaration of any kind.
-spec prop_broken() -> proper:test().
prop_broken() ->
    ?FORALL(Document, ?LET(Whole, document(), broken(Whole)),
            prop_result:holds(fun() -> is_no_more(Document) end)).

is_equal(Document) ->
    Ours = megaphone_nif:parse(Document, byte_size(Document)),
    is_tuple(Ours) andalso tuple_size(Ours) =:= 4 andalso is_theirs(Document, Ours).

is_no_more(Document) ->
    case megaphone_nif:parse(Document, byte_size(Document)) of
        {error, Text} -> is_binary(Text);
        Ours -> is_theirs(Document, Ours)
    end.

%% @doc Whether `Ours', which is what a document is here, is what it is there.
-spec is_theirs(binary(), fxml:xmlel()) -> boolean().
is_theirs(Document, Ours) ->
    Theirs = in_stream(Document),
    Alone = fxml_stream:parse_element(Document),
    prop_result:note("document ~p~n    ours ~p~n  theirs ~p~n   alone ~p~n", [Document, Ours, Theirs, Alone]),
    meaning(Ours, <<>>) =:= meaning(Theirs, <<>>)
        andalso is_spelled_alike(Ours)
        andalso (depends_on_prefixes(Document) orelse Ours =:= Alone).

%% What ejabberd_c2s gets of an element in a stream that has no default namespace.
in_stream(Document) ->
    Header = <<"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>">>,
    Element = re:replace(Document, "^\\s*<\\?xml.*?\\?>\\s*", "", [dotall, {return, binary}]),
    Stream = fxml_stream:parse(fxml_stream:new(self(), infinity, [no_gen_server]),
                               <<Header/binary, Element/binary>>),
    true = fxml_stream:close(Stream),
    %% It sends what it has found while it is called.
    receive {xmlstreamstart, _, _} -> ok after 0 -> ok end,
    receive
        {xmlstreamelement, Theirs} -> Theirs;
        {xmlstreamerror, Reason} -> {error, Reason}
    after 0 ->
        {error, unfinished}
    end.

%% An element with the default namespace that it is in, which is said where it changes and may be said
%% elsewhere; and without the declarations of prefixes, which stand on other elements here.
meaning({xmlel, Name, Attributes, Children}, Around) ->
    Default = proplists:get_value(<<"xmlns">>, Attributes, Around),
    {Name, Default, lists:sort([Attribute || {Key, _} = Attribute <- Attributes, not is_declaration(Key)]),
     [meaning(Child, Default) || Child <- Children]};
meaning(Other, _) ->
    Other.

is_declaration(<<"xmlns">>) -> true;
is_declaration(<<"xmlns:", _/binary>>) -> true;
is_declaration(_) -> false.

%% No element has a prefix, and what attributes have is declared on their element: ejabberd takes elements
%% out of others.
is_spelled_alike({xmlel, Name, Attributes, Children}) ->
    Used = [Prefix || {Key, _} <- Attributes, [Prefix, _] <- [binary:split(Key, <<":">>)],
                      Prefix =/= <<"xml">>, Prefix =/= <<"xmlns">>],
    binary:match(Name, <<":">>) =:= nomatch
        andalso lists:all(fun(Prefix) -> lists:keymember(<<"xmlns:", Prefix/binary>>, 1, Attributes) end, Used)
        andalso lists:all(fun is_spelled_alike/1, Children);
is_spelled_alike(_) ->
    true.

depends_on_prefixes(Document) ->
    re:run(Document, "<[^>\\s]+:|\\s(?!xml)[^\\s=:]+:|xmlns\\s*=\\s*(''|\"\")") =/= nomatch.

document() ->
    ?LET({Before, Element, After}, {declaration(), ?SIZED(Size, stanza(Size, [])), space()},
         iolist_to_binary([Before, Element, After])).

declaration() ->
    frequency([{5, <<>>}, {1, <<"<?xml version='1.0'?>">>},
               {1, <<"<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n">>}]).

%% Prefixes are those that are declared around it, or by itself.
stanza(Size, Around) ->
    ?LET(Declared, sublist([<<"a">>, <<"b">>]),
         begin
             Prefixes = lists:usort(Declared ++ Around),
             ?LET({Name, Attributes, Space, Children},
                  {name(Prefixes), shuffled([[declaration(Prefix) || Prefix <- Declared],
                                             default(), attributes(Prefixes)]),
                   space(), children(Size, Prefixes)},
                  tag(Name, [Attributes, Space], Children))
         end).

tag(Name, Inside, []) ->
    oneof([["<", Name, Inside, "/>"], ["<", Name, Inside, "></", Name, ">"]]);
tag(Name, Inside, Children) ->
    ["<", Name, Inside, ">", Children, "</", Name, " >"].

children(Size, _) when Size < 2 ->
    [];
children(Size, Prefixes) ->
    ?LET(Count, range(0, 3),
         [frequency([{2, text()}, {1, cdata()}, {2, ?LAZY(stanza(Size div 3, Prefixes))}])
          || _ <- lists:seq(1, Count)]).

name(Prefixes) ->
    ?LET({Prefix, Name}, {oneof([none, <<"xml">> | Prefixes]), local()},
         case Prefix of
             <<"xml">> -> Name;
             none -> Name;
             _ -> [Prefix, $:, Name]
         end).

local() ->
    elements([<<"message">>, <<"x">>, <<"_a-1.b">>, <<"body">>, <<"ä"/utf8>>]).

declaration(Prefix) ->
    [" xmlns:", Prefix, "=", quoted([<<"urn:">>, Prefix])].

default() ->
    oneof([[], [<<" xmlns='jabber:client'">>], [<<" xmlns=\"\"">>], [<<"\n xmlns = 'u&amp;v'">>]]).

%% No name twice, and none that is the same by namespace.
attributes(Prefixes) ->
    ?LET(Names, sublist([<<"to">>, <<"id">>, <<"xml:lang">>, <<"y">> | [[P, ":z"] || P <- Prefixes]]),
         [[white(), Name, equals(), value()] || Name <- Names]).

value() ->
    ?LET(Parts, list(oneof([plain(), reference(), <<">">>, <<"\t">>, <<"\n">>, <<"\r\n">>])),
         quoted(Parts)).

quoted(Parts) ->
    oneof([[$', Parts, $'], [$", Parts, $"]]).

text() ->
    list(oneof([plain(), reference(), <<"'">>, <<"\"">>, <<"\r">>, <<"\r\n">>, <<"\n\t">>, <<"]]">>])).

cdata() ->
    ?LET(Parts, list(oneof([plain(), <<"<a>">>, <<"&lt;">>, <<"\r\n">>, <<"]">>, <<"\"">>])),
         ["<![CDATA[", Parts, "]]>"]).

plain() ->
    elements([<<"a">>, <<"hello ">>, <<"ä€"/utf8>>, <<16#1F600/utf8>>, <<" ">>,
              binary:copy(<<"long ">>, 20)]).

reference() ->
    elements([<<"&lt;">>, <<"&gt;">>, <<"&amp;">>, <<"&apos;">>, <<"&quot;">>, <<"&#65;">>, <<"&#x1F600;">>,
              <<"&#10;">>, <<"&#13;">>, <<"&#9;">>]).

equals() ->
    elements([<<"=">>, <<" = ">>]).

white() ->
    elements([<<" ">>, <<"\n">>, <<"\t \r\n">>]).

space() ->
    oneof([<<>>, white()]).

sublist(List) ->
    ?LET(Chosen, [{boolean(), Item} || Item <- List], [Item || {true, Item} <- Chosen]).

shuffled(Parts) ->
    ?LET(Keys, vector(length(Parts), range(0, 100)),
         [Part || {_, Part} <- lists:keysort(1, lists:zip(Keys, Parts))]).

broken(Document) ->
    ?LET({At, Byte, How}, {range(0, max(0, byte_size(Document) - 1)), interesting(), oneof([change, leave_out, put_in])},
         begin
             <<Before:At/binary, Old, After/binary>> = Document,
             case How of
                 change -> <<Before/binary, Byte, After/binary>>;
                 leave_out -> <<Before/binary, After/binary>>;
                 put_in -> <<Before/binary, Byte, Old, After/binary>>
             end
         end).

interesting() ->
    frequency([{3, elements("<>/&;'\"=:! ?[]-\r\n")}, {1, byte()}]).
