%% @doc A database that ejabberd asks for passwords, by its own external authentication: it counts the queries that it
%% has at once, and answers them when a test says so.
%%
%% ejabberd starts a number of programs and asks each of them by its standard input, with two bytes of length before each
%% question and answer. Here the program only carries these to a socket and back.
-module(megaphone_test_database).

-export([start/1, options/2, asked/1, most/1, answer_all/1, stop/1]).
-export([init/2]).

-export_type([database/0]).

-opaque database() :: #{process := pid(), program := file:name()}.

%% ejabberd's answer for a question that is true.
-define(TRUE, <<1:16>>).

%% @doc Starts one that answers no query yet. The program is written to a folder.
-spec start(Dir :: file:name()) -> database().
start(Dir) ->
    {Process, Port} = proc_lib:start_link(?MODULE, init, [self(), []]),
    Program = filename:join(Dir, "ask.sh"),
    ok = filelib:ensure_dir(Program),
    ok = file:write_file(Program, ["exec 3<>/dev/tcp/127.0.0.1/", integer_to_list(Port), "\n"
                                   "cat <&3 &\nexec cat >&3\n"]),
    #{process => Process, program => Program}.

%% @doc ejabberd's options, as YAML, for so many queries at once.
-spec options(database(), Queries :: pos_integer()) -> iodata().
options(#{program := Program}, Queries) ->
    ["auth_method: external\n"
     "auth_use_cache: false\n"
     "extauth_program: \"bash ", Program, "\"\n"
     "extauth_pool_size: ", integer_to_list(Queries), "\n"].

%% @doc How many queries wait for their answer.
-spec asked(database()) -> non_neg_integer().
asked(Database) ->
    call(asked, Database).

%% @doc How many have waited at once, at most.
-spec most(database()) -> non_neg_integer().
most(Database) ->
    call(most, Database).

%% @doc From now on each is answered at once.
-spec answer_all(database()) -> ok.
answer_all(Database) ->
    call(answer_all, Database).

-spec stop(database()) -> ok.
stop(#{process := Process}) ->
    unlink(Process),
    exit(Process, kill),
    _ = megaphone_test_wait:for_down(Process, 5000),
    ok.

call(Request, #{process := Process}) ->
    Ref = make_ref(),
    Process ! {Request, self(), Ref},
    receive {Ref, Answer} -> Answer after 5000 -> ct:fail("the database does not answer") end.

%% @private
-spec init(pid(), []) -> no_return().
init(Parent, []) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {packet, 2}, {active, false}, {ip, {127, 0, 0, 1}}, {backlog, 100}]),
    {ok, Port} = inet:port(Listener),
    Self = self(),
    _ = spawn_link(fun() -> accept(Listener, Self) end),
    proc_lib:init_ack(Parent, {Self, Port}),
    loop(#{asked => [], most => 0, answers => false}).

accept(Listener, Database) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Program = spawn_link(fun() -> receive go -> serve(Socket, Database) end end),
    ok = gen_tcp:controlling_process(Socket, Program),
    Program ! go,
    accept(Listener, Database).

serve(Socket, Database) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, <<"auth:", _/binary>>} ->
            Database ! {auth, self()},
            receive answer -> gen_tcp:send(Socket, ?TRUE) end,
            serve(Socket, Database);
        {ok, _IsThere} ->
            gen_tcp:send(Socket, ?TRUE),
            serve(Socket, Database);
        {error, _} ->
            ok
    end.

loop(#{asked := Asked, most := Most, answers := Answers} = State) ->
    receive
        {auth, Program} when Answers ->
            Program ! answer,
            loop(State);
        {auth, Program} ->
            Now = [Program | Asked],
            loop(State#{asked := Now, most := max(Most, length(Now))});
        {asked, From, Ref} ->
            From ! {Ref, length(Asked)},
            loop(State);
        {most, From, Ref} ->
            From ! {Ref, Most},
            loop(State);
        {answer_all, From, Ref} ->
            _ = [Program ! answer || Program <- Asked],
            From ! {Ref, ok},
            loop(State#{asked := [], answers := true})
    end.
