%% @doc Ejabberd nodes of one cluster, each as megaphone_test_ejabberd starts one, that have found each other the way
%% an admin tells them to (`join_cluster').
-module(megaphone_test_cluster).

-export([start/3, stop/1, reload/2, address/1, call/4, node_of/1, ejabberd/1, await_members/2]).
%% Sessions.
-export([connect/1, target/1, user/2, login/3, process/2, processes/2, suspend/1, resume/1, await_gone/1]).

-export_type([member/0]).

-type member() :: #{ejabberd := megaphone_test_ejabberd:ejabberd(), node := node(), port := inet:port_number()}.

%% It copies the tables and starts ejabberd again.
-define(JOIN_TIMEOUT, 60_000).

%% @doc So many nodes under a folder, each with a megaphone_listener that has these `options'. The rest is
%% megaphone_test_ejabberd's: for all of them, and for each, whose `top' comes behind that of all.
-spec start(file:name(), [#{options => iodata(), top => iodata(), megaphone => file:name()}], map()) -> [member()].
start(Dir, Nodes, Settings) ->
    Numbered = lists:zip(lists:seq(1, length(Nodes)), Nodes),
    [First | Others] = Members = [start_member(Dir, Number, Node, Settings) || {Number, Node} <- Numbered],
    [ok = megaphone_test_ejabberd:call(Ejabberd, ejabberd_cluster, join, [node_of(First)], ?JOIN_TIMEOUT)
     || #{ejabberd := Ejabberd} <- Others],
    [await_members(Member, length(Members)) || Member <- Members],
    Members.

start_member(Dir, Number, Own, Settings) ->
    [Port, NodePort] = megaphone_test_port:free(2),
    Node = megaphone_test_epmd:node(NodePort),
    Top = [maps:get(top, Settings, ""), maps:get(top, Own, "")],
    Start = (maps:merge(Settings, maps:remove(options, Own)))
        #{top => Top, dir => filename:join(Dir, "node" ++ integer_to_list(Number)), node => Node,
                      listeners => [listener(Port, maps:get(options, Own, ""))]},
    case megaphone_test_ejabberd:start(Start) of
        {ok, Ejabberd} -> #{ejabberd => Ejabberd, node => Node, port => Port};
        {error, {not_started, Log}} -> ct:fail("ejabberd didn't start:~n~ts", [Log])
    end.

listener(Port, Options) ->
    megaphone_test_config:listener(megaphone_listener, Port, ["    ip: \"127.0.0.1\"\n", Options]).

%% @doc Waits until a member sees so many of them, itself included.
-spec await_members(member(), pos_integer()) -> ok.
await_members(Member, Count) ->
    What = io_lib:format("~s to be in a cluster of ~b", [node_of(Member), Count]),
    true = megaphone_test_wait:until(What, fun() -> length(call(Member, ejabberd_cluster, get_nodes, [])) =:= Count end),
    ok.

%% @doc Reloads a member's configuration, with other options of its listener.
-spec reload(member(), iodata()) -> ok.
reload(#{ejabberd := Ejabberd, port := Port}, Options) ->
    ok = megaphone_test_ejabberd:reload(Ejabberd, #{listeners => [listener(Port, Options)]}).

-spec stop([member()]) -> ok.
stop(Members) ->
    lists:foreach(fun(Member) -> ok = megaphone_test_ejabberd:stop(ejabberd(Member)) end, Members).

%% @doc Where its listener is.
-spec address(member()) -> {inet:ip_address(), inet:port_number()}.
address(#{port := Port}) -> {{127, 0, 0, 1}, Port}.

-spec node_of(member()) -> node().
node_of(#{node := Node}) -> Node.

-spec ejabberd(member()) -> megaphone_test_ejabberd:ejabberd().
ejabberd(#{ejabberd := Ejabberd}) -> Ejabberd.

-spec call(member(), module(), atom(), [term()]) -> term().
call(#{ejabberd := Ejabberd}, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(Ejabberd, Module, Function, Arguments).

%% Sessions.

%% @doc A trunk to a member.
-spec connect(member()) -> megaphone_test_yamux:trunk().
connect(Member) ->
    megaphone_test_yamux:connect(address(Member)).

%% @doc A trunk of its own for a client, and the header of its streams.
-spec target(member()) -> {megaphone_test_yamux:trunk(), megaphone_test_proxy:header()}.
target(Member) ->
    {connect(Member), megaphone_test_session:header()}.

%% @doc Makes an account that no other case has; its name starts with the one given.
-spec user(member(), binary()) -> binary().
user(Member, Name) ->
    User = <<Name/binary, (integer_to_binary(erlang:unique_integer([positive])))/binary>>,
    ok = megaphone_test_ejabberd:register_users(ejabberd(Member), [User]),
    User.

%% @doc A client with an account and a trunk of its own.
-spec login(member(), binary(), map()) -> megaphone_test_xmpp:client().
login(Member, Name, Options) ->
    megaphone_test_xmpp:login(megaphone_test_session, target(Member), user(Member, Name), Options).

%% @doc The one session with the client's resource that a member knows of.
-spec process(member(), megaphone_test_xmpp:client()) -> pid().
process(Member, Client) ->
    [Process] = processes(Member, Client),
    Process.

-spec processes(member(), megaphone_test_xmpp:client()) -> [pid()].
processes(Member, Client) ->
    [User, Host, Resource] = binary:split(megaphone_test_xmpp:jid(Client), [<<"@">>, <<"/">>], [global]),
    [Process || {_, Process} <- call(Member, ejabberd_sm, get_session_sids, [User, Host, Resource])].

%% @doc Holds a process of one of the members still, by which it is asked for.
-spec suspend({member(), pid()}) -> {member(), Holder :: pid()}.
suspend({Member, Process}) ->
    {Member, call(Member, megaphone_test_suspend, suspend, [Process])}.

-spec resume({member(), Holder :: pid()}) -> ok.
resume({Member, Holder}) ->
    call(Member, megaphone_test_suspend, resume, [Holder]).

%% @doc Waits until a process of a member has ended.
-spec await_gone({member(), pid()}) -> ok.
await_gone({Member, Process}) ->
    true = megaphone_test_wait:until("a session's process to end",
                                     fun() -> not call(Member, erlang, is_process_alive, [Process]) end),
    ok.
