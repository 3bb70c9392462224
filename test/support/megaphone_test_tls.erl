%% @doc TLS connections of OTP's ssl as sockets that gen_tcp and inet take, so that every client of the
%% tests can talk over one. They are passive.
-module(megaphone_test_tls).

-export([target/3]).
%% What gen_tcp and inet call.
-export([recv/2, recv/3, send/2, close/1, shutdown/2, setopts/2, getopts/2, controlling_process/2,
         peername/1, sockname/1]).

-define(SOCKET(Tls), {'$inet', ?MODULE, Tls}).
-define(TIMEOUT, 10_000).

-type socket() :: {'$inet', ?MODULE, ssl:sslsocket()}.

%% @doc A target for the test's clients: each of their connections is one with TLS to `localhost', whose
%% certificate one of those in the file has to have signed. The options are for ssl:connect/4.
-spec target({inet:ip_address(), inet:port_number()}, CaFile :: file:name(), [ssl:tls_client_option()]) ->
          fun(() -> socket()).
target({Address, Port}, CaFile, Options) ->
    fun() ->
            {ok, _} = application:ensure_all_started(ssl),
            All = [binary, {active, false}, {nodelay, true}, {verify, verify_peer}, {cacertfile, CaFile},
                   {server_name_indication, "localhost"} | Options],
            case ssl:connect(Address, Port, All, ?TIMEOUT) of
                {ok, Tls} -> ?SOCKET(Tls);
                {error, Reason} -> error({cannot_connect, Address, Port, Reason})
            end
    end.

recv(Socket, Length) ->
    recv(Socket, Length, infinity).

recv(?SOCKET(Tls), Length, Timeout) ->
    ssl:recv(Tls, Length, Timeout).

send(?SOCKET(Tls), Bytes) ->
    ssl:send(Tls, Bytes).

close(?SOCKET(Tls)) ->
    _ = ssl:close(Tls),
    ok.

shutdown(?SOCKET(Tls), How) ->
    ssl:shutdown(Tls, How).

setopts(?SOCKET(Tls), Options) ->
    ssl:setopts(Tls, Options).

getopts(?SOCKET(Tls), Names) ->
    ssl:getopts(Tls, Names).

controlling_process(?SOCKET(Tls), Pid) ->
    ssl:controlling_process(Tls, Pid).

peername(?SOCKET(Tls)) ->
    ssl:peername(Tls).

sockname(?SOCKET(Tls)) ->
    ssl:sockname(Tls).
