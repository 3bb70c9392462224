%%% @doc Stanzas that a client never got: what the ECM gives back of a client that is gone, and what ejabberd
%%% would have sent to it after that.
%%%
%%% When a client's connection ends, however it does, stanzas for it may wait in the ECM, or be on their way. As
%%% mod_bosh does with its buffer, they are routed again once the session has ended: a message then goes to
%%% another resource of the user, or becomes an offline message. With stream management that is
%%% mod_stream_mgmt's, which keeps what the client did not acknowledge; here it is dropped. What would harm is
%%% dropped as well: presence, which is out of date by then; carbon copies, of which the user has the original;
%%% what a room said, which its history has; and answers, for which nobody waits any more.
%%%
%%% All is in the dictionary of the session's process, since hardly any session has such stanzas.
-module(megaphone_undelivered).

-export([is_client_gone/0, client_gone/1, timeout/2, longest/1, given_back/1, unsent/1, route/2]).

-define(KEPT, {?MODULE, kept}).
-define(NS_CLIENT, <<"jabber:client">>).
-define(NS_CARBONS, <<"urn:xmpp:carbons:2">>).
%% More is not kept, and the ECM never has so much: the windows of both sides (bytes, without the last
%% document) ...
-define(MOST, 2097152).
%% ... with what each document takes beside its own bytes.
-define(BESIDE, 40).
%% The longest document that may come back: a recv gives no more ...
-define(LONGEST, 67108864).
%% ... and before a login, when nothing is kept.
-define(LONGEST_BEFORE_LOGIN, 65536).

%% More is not kept of what came too late for the client, which was in the session's queue, or comes until the
%% session has ended (bytes, without the last document).
-define(MOST_UNSENT, 16777216).

%% How long a client's undelivered documents may take to come back: meanwhile what is for it is kept
%% (milliseconds). A client that takes nothing the ECM gives up by a limit of its own, which is longer than
%% `send_timeout': so many times.
-define(GIVE_BACK_TIMEOUT, 60000).
-define(STUCK_TIMES, 4).

%% The newest is the first.
-record(kept, {given_back = {0, []} :: documents(),
               unsent = {0, []} :: documents()}).

-type documents() :: {Bytes :: non_neg_integer(), [Document :: binary()]}.

%% @doc Whether nothing more is to be sent.
-spec is_client_gone() -> boolean().
is_client_gone() ->
    get(?KEPT) =/= undefined.

%% @doc Says so, of the session with this state. Before a login there is nobody whose stanzas they are.
-spec client_gone(megaphone_ejabberd_c2s:state()) -> ok.
client_gone(State) ->
    KeepsThem = megaphone_ejabberd_c2s:has_logged_in(State)
        andalso not megaphone_ejabberd_c2s:has_stream_management(State),
    _ = case KeepsThem of
            true -> is_client_gone() orelse put(?KEPT, #kept{});
            false -> put(?KEPT, dropped)
        end,
    ok.

%% @doc How long the documents may take to come back of a client that is gone, or takes nothing (milliseconds).
-spec timeout(gone | stuck, megaphone:socket()) -> pos_integer().
timeout(gone, _Socket) ->
    ?GIVE_BACK_TIMEOUT;
timeout(stuck, Socket) ->
    case megaphone:getopts(Socket, [send_timeout]) of
        {ok, [{send_timeout, Timeout}]} when is_integer(Timeout) -> ?STUCK_TIMES * Timeout;
        _ -> ?GIVE_BACK_TIMEOUT
    end.

%% @doc How long a document may be that comes back to the session with this state (bytes).
-spec longest(megaphone_ejabberd_c2s:state()) -> pos_integer().
longest(State) ->
    case megaphone_ejabberd_c2s:has_logged_in(State) of
        true -> ?LONGEST;
        false -> ?LONGEST_BEFORE_LOGIN
    end.

%% @doc Keeps a document that came back.
-spec given_back(binary()) -> ok | {error, too_many}.
given_back(Document) ->
    keep(Document, #kept.given_back, ?MOST).

%% @doc Keeps what would have been sent, or could not be: then the client is gone from here on.
-spec unsent(megaphone_framing:element()) -> ok | {error, too_many}.
unsent({xmlstreamelement, _} = Element) ->
    _ = is_client_gone() orelse put(?KEPT, #kept{}),
    keep(megaphone_framing:encode(Element), #kept.unsent, ?MOST_UNSENT);
unsent(_) ->
    ok.

keep(<<>>, _Where, _Most) ->
    ok;
keep(Document, Where, Most) ->
    case get(?KEPT) of
        dropped ->
            ok;
        Kept ->
            case element(Where, Kept) of
                {Bytes, _} when Bytes > Most ->
                    {error, too_many};
                {Bytes, Documents} ->
                    More = {Bytes + byte_size(Document) + ?BESIDE, [Document | Documents]},
                    _ = put(?KEPT, setelement(Where, Kept, More)),
                    ok
            end
    end.

%% @doc Routes the stanzas that were kept, in their order, of the session that had this state; of those that
%% came back none that has more elements. The session has to be closed.
-spec route(megaphone_ejabberd_c2s:state(), MaxElements :: pos_integer()) -> ok.
route(Stream, MaxElements) ->
    _ = is_client_gone() andalso client_gone(Stream),
    case erase(?KEPT) of
        #kept{given_back = {_, GivenBack}, unsent = {_, Unsent}} ->
            %% One at a time: the terms of all at once would be many times as large.
            Documents = lists:reverse(GivenBack, lists:reverse(Unsent)),
            lists:foreach(fun(Document) -> route_document(Document, MaxElements) end, Documents);
        _ ->
            ok
    end.

route_document(Document, MaxElements) ->
    case megaphone_framing:decode(Document, MaxElements) of
        {xmlstreamelement, Element} -> route_element(Element);
        _ -> ok
    end.

route_element(Element) ->
    try xmpp:decode(Element, ?NS_CLIENT, megaphone_ejabberd:codec_options()) of
        Decoded -> route_decoded(Decoded)
    catch
        %% It can't be routed, nor can its sender be told.
        _:{xmpp_codec, _} -> ok
    end.

route_decoded(Decoded) ->
    case is_worth_routing(xmpp:get_name(Decoded), Decoded)
        andalso xmpp:get_from(Decoded) =/= undefined
        andalso xmpp:get_to(Decoded) =/= undefined
    of
        true -> megaphone_ejabberd:route(Decoded);
        false -> ok
    end.

is_worth_routing(<<"iq">>, Iq) ->
    lists:member(xmpp:get_type(Iq), [get, set]);
is_worth_routing(<<"message">>, Message) ->
    xmpp:get_type(Message) =/= groupchat
        andalso lists:all(fun(Child) -> xmpp:get_ns(Child) =/= ?NS_CARBONS end, xmpp:get_els(Message));
is_worth_routing(_, _) ->
    false.
