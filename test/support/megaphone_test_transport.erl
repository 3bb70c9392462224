%% @doc A client's socket with or without TLS, read by messages: what lies under a trunk of the tests.
-module(megaphone_test_transport).

-export([connect/2, activate/1, send/2, close/1, port/1]).

-export_type([transport/0, address/0, options/0]).

-define(TIMEOUT, 10_000).

-opaque transport() :: {gen_tcp, gen_tcp:socket()} | {ssl, ssl:sslsocket()}.
-type address() :: {inet:ip_address(), inet:port_number()} | {local, file:name()}.
%% `tls' are ssl's options; `gen_tcp' more of its own.
-type options() :: #{tls => [ssl:tls_client_option()], gen_tcp => [gen_tcp:connect_option()]}.

-spec connect(address(), options()) -> {ok, transport()} | {error, term()}.
connect(Address, Options) ->
    {Host, Port, Tcp} = case Address of
                            {local, _} -> {Address, 0, []};
                            {Ip, Number} -> {Ip, Number, [{nodelay, true}]}
                        end,
    All = [binary, {active, false}, {buffer, 65536}] ++ Tcp ++ maps:get(gen_tcp, Options, []),
    case {gen_tcp:connect(Host, Port, All, ?TIMEOUT), Options} of
        {{ok, Socket}, #{tls := Tls}} -> tls_connect(Socket, Tls);
        {{ok, Socket}, _} -> {ok, {gen_tcp, Socket}};
        {{error, _} = Error, _} -> Error
    end.

tls_connect(Socket, Options) ->
    case ssl:connect(Socket, Options, ?TIMEOUT) of
        {ok, Tls} -> {ok, {ssl, Tls}};
        {error, _} = Error -> Error
    end.

%% @doc Asks for a hundred messages more.
-spec activate(transport()) -> ok | {error, term()}.
activate({gen_tcp, Socket}) -> inet:setopts(Socket, [{active, 100}]);
activate({ssl, Socket}) -> ssl:setopts(Socket, [{active, 100}]).

-spec send(transport(), iodata()) -> ok | {error, term()}.
send({Module, Socket}, Bytes) -> Module:send(Socket, Bytes).

-spec close(transport()) -> ok | {error, term()}.
close({Module, Socket}) -> Module:close(Socket).

%% @doc Our port; `undefined' for a Unix socket.
-spec port(transport()) -> inet:port_number() | undefined.
port({gen_tcp, Socket}) -> port_of(inet:sockname(Socket));
port({ssl, Socket}) -> port_of(ssl:sockname(Socket)).

port_of({ok, {Ip, Port}}) when is_tuple(Ip) -> Port;
port_of(_) -> undefined.
