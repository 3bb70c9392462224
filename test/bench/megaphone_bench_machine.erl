%% @doc The machine and the versions that a measurement is true for.
-module(megaphone_bench_machine).

-export([describe/0]).

-spec describe() -> #{atom() => binary() | integer()}.
describe() ->
    #{cpu => cpu(),
      schedulers => erlang:system_info(schedulers_online),
      system => text([string:trim(os:cmd("uname -sr"))]),
      otp => text(["OTP ", erlang:system_info(otp_release),
                   ", erts ", erlang:system_info(version),
                   ", ", atom_to_list(flavor())]),
      rustc => text([os:getenv("MEGAPHONE_BENCH_RUSTC", "unknown rustc")]),
      commit => text([os:getenv("MEGAPHONE_BENCH_COMMIT", "unknown")])}.

cpu() ->
    {ok, Info} = file:read_file("/proc/cpuinfo"),
    Models = [string:trim(Value) || Line <- binary:split(Info, <<"\n">>, [global]),
                                    [<<"model name", _/binary>>, Value] <- [binary:split(Line, <<":">>)]],
    case Models of
        [Model | _] -> Model;
        [] -> text([erlang:system_info(system_architecture)])
    end.

%% Before OTP 24 there was one.
flavor() ->
    try
        erlang:system_info(emu_flavor)
    catch
        error:badarg -> emu
    end.

text(Parts) ->
    unicode:characters_to_binary(Parts).
