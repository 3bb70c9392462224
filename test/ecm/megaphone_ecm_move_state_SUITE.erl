%% What a client's session has goes along as the ECM moves it to another node of the cluster: stream management, push, and
%% what ejabberd's modules keep. ECM, nodes and clients are real.
-module(megaphone_ecm_move_state_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([stream_management_and_push_go_along/1, what_modules_keep_goes_along/1, a_tag_of_bind_2_goes_along/1]).

-import(megaphone_test_two_nodes, [transports/0, target/2, poll/1]).

-define(TIMEOUT, 20_000).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [stream_management_and_push_go_along, what_modules_keep_goes_along, a_tag_of_bind_2_goes_along].

init_per_suite(Config) ->
    Options = case megaphone_test_sasl2:is_offered_by() of
                  true -> "    c2s:\n      allow_unencrypted_sasl2: true\n";
                  false -> ""
              end,
    Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, "cluster"]),
    Members = megaphone_test_cluster:start(Dir, [#{options => Options}, #{options => Options}],
                                           #{modules => "  mod_blocking: {}\n"
                                                        "  mod_carboncopy: {}\n"
                                                        "  mod_client_state: {}\n"
                                                        "  mod_privacy: {}\n"
                                                        "  mod_push: {}\n"}),
    [{members, Members} | Config].

end_per_suite(Config) ->
    megaphone_test_cluster:stop(members(Config)).

%% The clients of a case begin at the first node.
init_per_testcase(Case, Config) ->
    case Case =/= a_tag_of_bind_2_goes_along orelse megaphone_test_sasl2:is_offered_by() of
        true ->
            Dir = filename:join([proplists:get_value(priv_dir, Config), ?MODULE, Case]),
            Ports = [element(2, megaphone_test_cluster:address(Member)) || Member <- members(Config)],
            Started = megaphone_test_two_nodes:start_ecm(Ports, more(Case), [{ecm_dir, Dir} | Config]),
            ok = megaphone_test_two_nodes:ctl(["drain", "b"], Started),
            Started;
        false ->
            {skip, "this ejabberd has no SASL2"}
    end.

end_per_testcase(_Case, Config) ->
    megaphone_test_two_nodes:stop_ecm(Config).

%% Confirms that the counters of both sides go on, that a client whose connection breaks behind the move resumes at the new
%% node, and that it is told by push of what comes meanwhile.
stream_management_and_push_go_along(Config) ->
    [_, B] = members(Config),
    [Bob, Service] = [megaphone_test_cluster:login(B, Name, #{}) || Name <- [<<"bob">>, <<"service">>]],
    Clients = [{Transport, managed(Transport, Service, Config)} || Transport <- transports()],
    One = send_all(Clients, <<"one">>, Bob),
    Written = [{Transport, write(megaphone_test_resumption:recv_messages(Client, 1), Bob)}
               || {Transport, Client} <- Clients],
    leave(Config, [Client || {_, #{client := Client}} <- Written]),
    Two = send_all(Written, <<"two">>, One),
    Moved = [{Transport, acknowledged(write(megaphone_test_resumption:recv_messages(Client, 2), Bob))}
             || {Transport, Client} <- Written],
    [megaphone_test_resumption:drop(Client) || {_, Client} <- Moved],
    _ = send_all(Moved, <<"three">>, Two),
    _ = lists:foldl(fun(_, Waiting) -> recv_push(Waiting) end, Service, Moved),
    ok = megaphone_test_two_nodes:next_second(),
    [begin
         New = megaphone_test_xmpp:authenticate(Transport, target(Transport, Config), megaphone_test_two_nodes:user_of(maps:get(client, Client)), #{}),
         Resumed = megaphone_test_resumption:recv_messages(megaphone_test_resumption:resume(Client, New), 3),
         {alive, Alive} = megaphone_test_resumption:ping(Resumed),
         ?assertEqual([<<"one">>, <<"two">>, <<"three">>], megaphone_test_resumption:received(Alive)),
         megaphone_test_resumption:logout(Alive)
     end || {Transport, Client} <- Moved],
    ok.

managed(Transport, Service, Config) ->
    Enable = ["<enable xmlns='urn:xmpp:push:0' jid='", megaphone_test_xmpp:jid(Service), "' node='phone'/>"],
    {_, Enabled} = megaphone_test_xmpp:request(login(Config, Transport), {"set", "", Enable}),
    megaphone_test_resumption:enable(poll(Enabled)).

write(Client, To) ->
    megaphone_test_resumption:send_message(Client, megaphone_test_xmpp:jid(To), <<"written">>).

%% The server has counted all that the client has sent, before the move and since.
acknowledged(#{client := Client} = Resumable) ->
    Asked = Resumable#{client := megaphone_test_xmpp:send(Client, "<r xmlns='urn:xmpp:sm:3'/>")},
    {alive, #{sent := Sent} = Answered} = megaphone_test_resumption:ping(Asked),
    %% The ping was sent behind the question.
    ?assertMatch(#{unacknowledged := [{Sent, _}]}, Answered),
    Answered.

recv_push(Service) ->
    IsPush = fun(Stanza) ->
                     megaphone_test_xml:name(Stanza) =:= <<"iq">>
                         andalso megaphone_test_xml:child(<<"pubsub">>, Stanza) =/= undefined
             end,
    {Stanza, Received} = megaphone_test_xmpp:recv_until(Service, IsPush, ?TIMEOUT),
    Publish = megaphone_test_xml:child(<<"publish">>, megaphone_test_xml:child(<<"pubsub">>, Stanza)),
    ?assertEqual(<<"phone">>, megaphone_test_xml:attribute(<<"node">>, Publish)),
    Received.

%% Confirms it of carbon copies, of presence that client state holds back, of who is blocked, and of who knows that the
%% client is there.
what_modules_keep_goes_along(Config) ->
    [_, B] = members(Config),
    [Bob, Mallory] = [megaphone_test_cluster:login(B, Name, #{}) || Name <- [<<"bob">>, <<"mallory">>]],
    {Clients, Bob1} = lists:mapfoldl(fun(Transport, Known) -> furnished(Transport, Known, Mallory, Config) end, Bob,
                                     transports()),
    leave(Config, Clients),
    lists:foldl(fun(Client, {Writer, Blocked}) -> is_furnished(Client, Writer, Blocked, Config) end, {Bob1, Mallory},
                Clients),
    ok.

furnished(Transport, Bob, Mallory, Config) ->
    {_, Carbons} = megaphone_test_xmpp:request(login(Config, Transport), {"set", "", "<enable xmlns='urn:xmpp:carbons:2'/>"}),
    Block = ["<block xmlns='urn:xmpp:blocking'><item jid='", megaphone_test_xmpp:jid(Mallory), "'/></block>"],
    {_, Blocking} = megaphone_test_xmpp:request(Carbons, {"set", "", Block}),
    Known = send_presence(Blocking, megaphone_test_xmpp:jid(Bob)),
    Bob1 = recv_presence(Bob, Known, <<>>),
    Inactive = megaphone_test_xmpp:send(Known, "<inactive xmlns='urn:xmpp:csi:0'/>"),
    {poll(sync(Inactive)), Bob1}.

is_furnished(#{jid := Jid} = Client, Bob, Mallory, Config) ->
    [_, B] = members(Config),
    Bob1 = sync(send_presence(Bob, Jid)),
    %% Presence would have come first.
    Quiet = sync(Client),
    Active = megaphone_test_xmpp:send(Quiet, "<active xmlns='urn:xmpp:csi:0'/>"),
    Present = recv_presence(Active, Bob, <<>>),
    Other = megaphone_test_xmpp:login(megaphone_test_session, megaphone_test_cluster:target(B),
                                      megaphone_test_two_nodes:user_of(Client)),
    Mallory1 = sync(megaphone_test_xmpp:send_message(Mallory, Jid, <<"blocked">>)),
    Bob2 = megaphone_test_xmpp:send_message(Bob1, megaphone_test_xmpp:jid(Other), <<"for the other one">>),
    {Copy, Copied} = megaphone_test_xmpp:recv_until(Present, fun is_message/1, ?TIMEOUT),
    ?assertNotEqual(undefined, megaphone_test_xml:child(<<"received">>, Copy)),
    ok = megaphone_test_xmpp:logout(Copied),
    {recv_presence(Bob2, Client, <<"unavailable">>), Mallory1}.

is_message(Stanza) ->
    megaphone_test_xml:name(Stanza) =:= <<"message">>.

%% Confirms that a client which logs in again by SASL2, with the same tag, takes the place of its session that has moved;
%% and that what it had asked for with its resource goes along.
a_tag_of_bind_2_goes_along(Config) ->
    [A, B] = members(Config),
    Clients = [{Transport, tagged(Transport, megaphone_test_cluster:user(A, <<"alice">>), Config)}
               || Transport <- transports()],
    leave(Config, [Client || {_, Client} <- Clients]),
    [begin
         [User, Host, Resource] = binary:split(Jid, [<<"@">>, <<"/">>], [global]),
         Info = megaphone_test_cluster:call(B, ejabberd_sm, get_user_info, [User, Host, Resource]),
         ?assert(lists:keymember(carboncopy, 1, Info), Info),
         Again = tagged(Transport, User, Config),
         {Ending, _} = megaphone_test_resumption:drain(megaphone_test_resumption:without(Client)),
         ?assertMatch(#{condition := <<"conflict">>}, Ending),
         ok = megaphone_test_xmpp:logout(Again)
     end || {Transport, #{jid := Jid} = Client} <- Clients],
    ok.

tagged(Transport, User, Config) ->
    {_, Opened} = megaphone_test_sasl2:open(Transport, target(Transport, Config), User, #{}),
    Inline = [megaphone_test_sasl2:user_agent(<<"d4565fa7-4d72-4749-b3d3-740edbf87770">>),
              megaphone_test_sasl2:bind("tag", "<enable xmlns='urn:xmpp:carbons:2'/>")],
    {Success, Answered} = megaphone_test_sasl2:authenticate(Opened, {plain, <<"megaphone">>}, Inline),
    poll(megaphone_test_xmpp:send_presence(megaphone_test_sasl2:authenticated(Success, Answered))).

%% What these have in common.

members(Config) ->
    proplists:get_value(members, Config).

login(Config, Transport) ->
    [A, _] = members(Config),
    megaphone_test_xmpp:login(Transport, target(Transport, Config), megaphone_test_cluster:user(A, <<"alice">>)).

%% Of a BOSH client whose connection is broken the ECM hears nothing for so long.
more(stream_management_and_push_go_along) -> "[bosh]\nmax_inactivity = \"3s\"\n";
more(_Case) -> "".

%% These clients' sessions are all at the first node, and then at the second one.
leave(Config, Clients) ->
    [A, B] = members(Config),
    IsAt = fun(Member) ->
                   Nodes = lists:usort([node(megaphone_test_cluster:process(B, Client)) || Client <- Clients]),
                   Nodes =:= [megaphone_test_cluster:node_of(Member)]
           end,
    true = IsAt(A),
    ok = megaphone_test_two_nodes:ctl(["ready", "b"], Config),
    ok = megaphone_test_two_nodes:ctl(["drain", "a"], Config),
    true = megaphone_test_wait:until("all sessions to be at the other node", fun() -> IsAt(B) end, ?TIMEOUT).

send_all(Clients, Body, Bob) ->
    lists:foldl(fun({_, Client}, Sender) ->
                        megaphone_test_xmpp:send_message(Sender, megaphone_test_resumption:jid(Client), Body)
                end, Bob, Clients).

%% All that the client had sent is handled; what comes before the answer is no presence of others.
sync(#{jid := Jid} = Client) ->
    Id = integer_to_binary(erlang:unique_integer([positive])),
    Asked = megaphone_test_xmpp:send(Client, ["<iq xmlns='jabber:client' type='get' to='localhost' id='", Id,
                                              "'><ping xmlns='urn:xmpp:ping'/></iq>"]),
    {Answer, Answered} = megaphone_test_xmpp:recv_until(Asked, fun(Stanza) -> is_iq(Stanza, Id) orelse
                                                                              is_presence(Stanza, Jid) end, ?TIMEOUT),
    ?assertEqual(<<"iq">>, megaphone_test_xml:name(Answer)),
    Answered.

is_iq(Stanza, Id) ->
    megaphone_test_xml:name(Stanza) =:= <<"iq">> andalso megaphone_test_xml:attribute(<<"id">>, Stanza) =:= Id.

is_presence(Stanza, Own) ->
    megaphone_test_xml:name(Stanza) =:= <<"presence">>
        andalso not lists:member(megaphone_test_xml:attribute(<<"from">>, Stanza), [Own, <<>>]).

send_presence(Client, To) ->
    megaphone_test_xmpp:send(Client, ["<presence xmlns='jabber:client' to='", To, "'/>"]).

recv_presence(Client, From, Type) ->
    Jid = megaphone_test_xmpp:jid(From),
    IsIt = fun(Stanza) ->
                   megaphone_test_xml:name(Stanza) =:= <<"presence">>
                       andalso megaphone_test_xml:attribute(<<"from">>, Stanza) =:= Jid
                       andalso megaphone_test_xml:attribute(<<"type">>, Stanza) =:= Type
           end,
    {_, Received} = megaphone_test_xmpp:recv_until(Client, IsIt, ?TIMEOUT),
    Received.
