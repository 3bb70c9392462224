%% An ECM that nobody here wrote: rust-yamux's client with PROXY headers by the crate ppp, against
%% megaphone_listener in a real ejabberd. The program is native/ecm/examples/yamux_client.rs.
-module(megaphone_v2_interop_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([two_hundred_clients/1, large_download/1, large_upload/1]).

-define(SIZE, (10 bsl 20)).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [two_hundred_clients, large_download, large_upload].

init_per_suite(Config) ->
    Log = filename:join(proplists:get_value(priv_dir, Config), "cargo.log"),
    {0, _} = megaphone_test_program:run(
               os:find_executable("cargo"),
               ["build", "--quiet", "--locked", "--package", "megaphone-ecm", "--example", "yamux_client"],
               #{log => Log, cd => megaphone_test_program:repository()}, 600_000),
    megaphone_test_listeners:start(Config, #{default => ""}).

end_per_suite(Config) ->
    megaphone_test_listeners:stop(Config).

%% Confirms that each of its streams has its own client's address.
two_hundred_clients(Config) ->
    <<>> = run(Config, ["requests", "200"]),
    ?assertMatch(#{opened := 200, errors := Errors} when Errors =:= #{},
                 megaphone_test_listeners:status(Config)).

large_download(Config) ->
    Bytes = rand:bytes(?SIZE),
    ok = file:write_file(filename:join([dir(Config), "files", "large"]), Bytes),
    Received = filename:join(dir(Config), "received"),
    <<>> = run(Config, ["download", "/echo/file/large", Received]),
    ?assertEqual({ok, crypto:hash(sha256, Bytes)}, hash(Received)).

large_upload(Config) ->
    File = filename:join(dir(Config), "to_send"),
    ok = file:write_file(File, rand:bytes(?SIZE)),
    #{<<"sha256">> := Hash} = megaphone_test_json:decode(run(Config, ["upload", "/echo", File])),
    ?assertEqual({ok, binary:decode_hex(Hash)}, hash(File)).

run(Config, Arguments) ->
    {_Ip, Port} = megaphone_test_listeners:address(Config, default),
    Log = filename:join(proplists:get_value(priv_dir, Config), "yamux_client.log"),
    case megaphone_test_program:run(program(), ["127.0.0.1:" ++ integer_to_list(Port) | Arguments],
                                    #{log => Log}, 60_000) of
        {0, Output} -> Output;
        {Status, Output} -> ct:fail("expected ~p to work, it ended with ~b:~n~ts", [Arguments, Status, Output])
    end.

program() ->
    Target = os:getenv("CARGO_TARGET_DIR", filename:join(megaphone_test_program:repository(), "target")),
    filename:join([Target, "debug", "examples", "yamux_client"]).

hash(File) ->
    {ok, Bytes} = file:read_file(File),
    {ok, crypto:hash(sha256, Bytes)}.

dir(Config) ->
    megaphone_test_ejabberd:dir(megaphone_test_listeners:ejabberd(Config)).
