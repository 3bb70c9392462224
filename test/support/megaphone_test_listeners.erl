%% @doc An ejabberd with several megaphone_listeners, each by a name and with options of its own, for
%% suites whose cases are the trunk's far end themselves.
-module(megaphone_test_listeners).

-export([start/2, start/3, stop/1, ejabberd/1, address/2, connect/1, connect/2, call/4, status/1,
         trunk_status/2, errors/2, await_error/3, await_end/1]).

-type ct_config() :: [{atom(), term()}].
-type name() :: atom().

%% @doc Starts it under the suite's private folder. The options are YAML, beside the request handlers.
-spec start(ct_config(), #{name() => iodata()}) -> ct_config().
start(Config, Listeners) ->
    start(Config, Listeners, #{}).

%% @doc With more of megaphone_test_ejabberd's settings, and `more_listeners' that have no port here.
-spec start(ct_config(), #{name() => iodata()}, map()) -> ct_config().
start(Config, Listeners, Settings) ->
    Names = maps:keys(Listeners),
    Ports = maps:from_list(lists:zip(Names, megaphone_test_port:free(length(Names)))),
    Yaml = [megaphone_test_config:listener(megaphone_listener, maps:get(Name, Ports),
                                           [megaphone_test_config:request_handlers(),
                                            maps:get(Name, Listeners)])
            || Name <- Names],
    Dir = filename:join(proplists:get_value(priv_dir, Config), "ejabberd"),
    All = Yaml ++ maps:get(more_listeners, Settings, []),
    case megaphone_test_ejabberd:start(Settings#{dir => Dir, listeners => All}) of
        {ok, Ejabberd} -> [{ejabberd, Ejabberd}, {ports, Ports} | Config];
        {error, {not_started, Log}} -> ct:fail("ejabberd didn't start:~n~ts", [Log])
    end.

-spec stop(ct_config()) -> ok.
stop(Config) ->
    megaphone_test_ejabberd:stop(ejabberd(Config)).

-spec ejabberd(ct_config()) -> megaphone_test_ejabberd:ejabberd().
ejabberd(Config) ->
    proplists:get_value(ejabberd, Config).

%% @doc Where the listener of that name listens.
-spec address(ct_config(), name()) -> {inet:ip_address(), inet:port_number()}.
address(Config, Name) ->
    {{127, 0, 0, 1}, maps:get(Name, proplists:get_value(ports, Config))}.

%% @doc A version 2 trunk to the listener `default'.
-spec connect(ct_config()) -> megaphone_test_yamux:trunk().
connect(Config) ->
    connect(Config, default).

-spec connect(ct_config(), name()) -> megaphone_test_yamux:trunk().
connect(Config, Name) ->
    megaphone_test_yamux:connect(address(Config, Name)).

-spec call(ct_config(), module(), atom(), [term()]) -> term().
call(Config, Module, Function, Arguments) ->
    megaphone_test_ejabberd:call(ejabberd(Config), Module, Function, Arguments).

%% @doc The sums of all trunks.
-spec status(ct_config()) -> map().
status(Config) ->
    call(Config, megaphone, status, []).

%% @doc The status of one trunk, found by our port. It has to be open still.
-spec trunk_status(ct_config(), megaphone_test_yamux:trunk()) -> map().
trunk_status(Config, Trunk) ->
    Port = megaphone_test_yamux:port(Trunk),
    Find = fun() ->
                   Numbers = maps:get(trunk_numbers, status(Config)),
                   All = [Status || Number <- Numbers,
                                    {ok, Status} <- [call(Config, megaphone, status, [Number])]],
                   case [Status || #{peername := {_, P}} = Status <- All, P =:= Port] of
                       [Status] -> Status;
                       [] -> false
                   end
           end,
    megaphone_test_wait:until("the status of the trunk", Find).

%% @doc How often an error of that kind was counted since ejabberd's start.
-spec errors(ct_config(), atom()) -> non_neg_integer().
errors(Config, Kind) ->
    maps:get(Kind, maps:get(errors, status(Config)), 0).

%% @doc Waits until that error was counted more often than `Before' times, and answers how often.
-spec await_error(ct_config(), atom(), Before :: non_neg_integer()) -> pos_integer().
await_error(Config, Kind, Before) ->
    megaphone_test_wait:until(
      fun() -> io_lib:format("more than ~b errors of the kind ~ts, there are ~0p",
                             [Before, Kind, maps:get(errors, status(Config))])
      end,
      fun() ->
              case errors(Config, Kind) of
                  Count when Count > Before -> Count;
                  _ -> false
              end
      end).

%% @doc Waits until no trunk, no connection and no process of ejabberd_http is left.
-spec await_end(ct_config()) -> ok.
await_end(Config) ->
    ok = call(Config, megaphone_test_handler, release_the_rest, []),
    Left = fun() -> {maps:with([trunks, connections, buffered, waiters], status(Config)),
                     megaphone_test_stage:http_processes(Config)}
           end,
    None = {#{trunks => 0, connections => 0, buffered => 0, waiters => 0}, []},
    true = megaphone_test_wait:until(
             fun() -> io_lib:format("the end of all trunks and of their processes, there are ~0p",
                                    [Left()])
             end,
             fun() -> Left() =:= None end),
    ok.
