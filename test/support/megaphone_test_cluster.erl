%% @doc Ejabberd nodes of one cluster, each as megaphone_test_ejabberd starts one, that have found each other the way
%% an admin tells them to (`join_cluster').
-module(megaphone_test_cluster).

-export([start/3, stop/1, address/1, call/4, node_of/1, ejabberd/1, await_members/2]).

-export_type([member/0]).

-type member() :: #{ejabberd := megaphone_test_ejabberd:ejabberd(), node := node(), port := inet:port_number()}.

%% It copies the tables and starts ejabberd again.
-define(JOIN_TIMEOUT, 60_000).

%% @doc So many nodes under a folder, each with a megaphone_listener that has these options. `Settings' are
%% megaphone_test_ejabberd's.
-spec start(file:name(), [iodata()], map()) -> [member()].
start(Dir, Options, Settings) ->
    Numbered = lists:zip(lists:seq(1, length(Options)), Options),
    [First | Others] = Members = [start_member(Dir, Number, Listener, Settings) || {Number, Listener} <- Numbered],
    [ok = megaphone_test_ejabberd:call(Ejabberd, ejabberd_cluster, join, [node_of(First)], ?JOIN_TIMEOUT)
     || #{ejabberd := Ejabberd} <- Others],
    [await_members(Member, length(Members)) || Member <- Members],
    Members.

start_member(Dir, Number, Options, Settings) ->
    [Port, NodePort] = megaphone_test_port:free(2),
    Node = megaphone_test_epmd:node(NodePort),
    Listener = megaphone_test_config:listener(megaphone_listener, Port, ["    ip: \"127.0.0.1\"\n", Options]),
    Start = Settings#{dir => filename:join(Dir, "node" ++ integer_to_list(Number)), node => Node,
                      listeners => [Listener]},
    case megaphone_test_ejabberd:start(Start) of
        {ok, Ejabberd} -> #{ejabberd => Ejabberd, node => Node, port => Port};
        {error, {not_started, Log}} -> ct:fail("ejabberd didn't start:~n~ts", [Log])
    end.

%% @doc Waits until a member sees so many of them, itself included.
-spec await_members(member(), pos_integer()) -> ok.
await_members(Member, Count) ->
    What = io_lib:format("~s to be in a cluster of ~b", [node_of(Member), Count]),
    true = megaphone_test_wait:until(What, fun() -> length(call(Member, ejabberd_cluster, get_nodes, [])) =:= Count end),
    ok.

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
