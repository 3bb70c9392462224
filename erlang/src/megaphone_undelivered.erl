%%% @doc Stanzas that a client never got: what the ECM gives back of a client that is gone, and what ejabberd
%%% would have sent to it after that.
%%%
%%% When a BOSH client is silent for too long, stanzas for it may wait in the ECM, or be on their way. As
%%% mod_bosh does with its buffer, they are routed again once the session has ended: a message then goes to
%%% another resource of the user, or becomes an offline message. With stream management that is
%%% mod_stream_mgmt's, which keeps what the client did not acknowledge; here it is dropped.
%%%
%%% All is in the dictionary of the session's process, since hardly any session has such stanzas.
-module(megaphone_undelivered).

-export([is_client_gone/0, client_gone/1, longest/1, given_back/1, unsent/1, route/1]).

-define(KEPT, {?MODULE, kept}).
-define(NS_CLIENT, <<"jabber:client">>).
%% More is not kept, and the ECM never has so much: the windows of both sides (bytes, without the last
%% document) ...
-define(MOST, 2097152).
%% ... with what each document takes beside its own bytes.
-define(BESIDE, 40).
%% The longest document that may come back: a recv gives no more ...
-define(LONGEST, 67108864).
%% ... and before a login, when nothing is kept.
-define(LONGEST_BEFORE_LOGIN, 65536).

%% The newest is the first.
-record(kept, {bytes = 0 :: non_neg_integer(),
               given_back = [] :: [Document :: binary()],
               unsent = [] :: [fxml:xmlel()]}).

%% @doc Whether nothing more is to be sent.
-spec is_client_gone() -> boolean().
is_client_gone() ->
    get(?KEPT) =/= undefined.

%% @doc Says so, of the session with this state. Before a login there is nobody whose stanzas they are.
-spec client_gone(xmpp_stream_in:state()) -> ok.
client_gone(Stream) ->
    _ = put(?KEPT, case Stream of
                       #{mgmt_state := State} when State =/= inactive -> dropped;
                       #{stream_authenticated := true} -> #kept{};
                       _ -> dropped
                   end),
    ok.

%% @doc How long a document may be that comes back to the session with this state (bytes).
-spec longest(xmpp_stream_in:state()) -> pos_integer().
longest(#{stream_authenticated := true}) -> ?LONGEST;
longest(_) -> ?LONGEST_BEFORE_LOGIN.

%% @doc Keeps a document that came back.
-spec given_back(binary()) -> ok | {error, too_many}.
given_back(Document) ->
    case get(?KEPT) of
        #kept{bytes = Bytes} when Bytes > ?MOST ->
            {error, too_many};
        #kept{bytes = Bytes, given_back = GivenBack} = Kept when Document =/= <<>> ->
            _ = put(?KEPT, Kept#kept{bytes = Bytes + byte_size(Document) + ?BESIDE,
                                     given_back = [Document | GivenBack]}),
            ok;
        _ ->
            ok
    end.

%% @doc Keeps what would have been sent.
-spec unsent(megaphone_framing:element()) -> ok.
unsent({xmlstreamelement, Element}) ->
    case get(?KEPT) of
        #kept{unsent = Unsent} = Kept ->
            _ = put(?KEPT, Kept#kept{unsent = [Element | Unsent]}),
            ok;
        dropped ->
            ok
    end;
unsent(_) ->
    ok.

%% @doc Routes the stanzas that were kept, in their order; of those that came back none that has more
%% elements. The session has to be closed.
-spec route(MaxElements :: pos_integer()) -> ok.
route(MaxElements) ->
    case erase(?KEPT) of
        #kept{given_back = GivenBack, unsent = Unsent} ->
            %% One at a time: the terms of all at once would be many times as large.
            lists:foreach(fun(Document) -> route_document(Document, MaxElements) end, lists:reverse(GivenBack)),
            lists:foreach(fun route_element/1, lists:reverse(Unsent));
        _ ->
            ok
    end.

route_document(Document, MaxElements) ->
    case megaphone_framing:decode(Document, MaxElements) of
        {xmlstreamelement, Element} -> route_element(Element);
        _ -> ok
    end.

route_element(Element) ->
    try xmpp:decode(Element, ?NS_CLIENT, ejabberd_config:codec_options()) of
        Decoded -> route_decoded(Decoded)
    catch
        %% It can't be routed, nor can its sender be told.
        _:{xmpp_codec, _} -> ok
    end.

route_decoded(Decoded) ->
    case xmpp:is_stanza(Decoded)
        andalso xmpp:get_from(Decoded) =/= undefined
        andalso xmpp:get_to(Decoded) =/= undefined
    of
        true -> ejabberd_router:route(Decoded);
        false -> ok
    end.
