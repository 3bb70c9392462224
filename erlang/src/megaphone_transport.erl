%%% @doc A trunk's own socket, with or without TLS.
-module(megaphone_transport).

-export([tls_options/1, plain/1, tls/2, controlling_process/2, peer/1, enlarge/1, activate/2, send/2, event/2, format_error/1]).

-export_type([transport/0, tls/0, peer/0]).

-opaque transport() :: {gen_tcp, inet:socket()} | {ssl, ssl:sslsocket()}.
-type tls() :: none | [ssl:tls_server_option()].
%% By whose certificate the peer is known; `none' without TLS.
-type peer() :: none | {TlsVersion :: binary(), Certificate :: binary()}.

%% {buffer, _}: how much one message may carry; see DESIGN's cost model for what it is worth.
-define(BUFFERS, [{buffer, 65536}, {recbuf, 262144}, {sndbuf, 262144}]).
%% A peer that takes nothing for so long has lost its trunk (milliseconds). A connection that
%% waits for room gives up sooner, by its own send_timeout.
-define(WRITING, [{nodelay, true}, {send_timeout, 60000}, {send_timeout_close, true}]).

%% @doc The TLS side of a listener's options: mutual TLS, 1.2 or 1.3, or none. Certificates are
%% read again for each handshake, once ssl's cache of files is cleared.
-spec tls_options([{atom(), term()}]) -> tls().
tls_options(Opts) ->
    case proplists:get_bool(tls, Opts) of
        false ->
            none;
        true ->
            [{certfile, proplists:get_value(certfile, Opts)},
             {cacertfile, proplists:get_value(cafile, Opts)},
             {verify, verify_peer},
             {fail_if_no_peer_cert, true},
             {versions, ['tlsv1.3', 'tlsv1.2']},
             {reuse_sessions, false},
             %% The trunk's end says it, as seldom as it is to be said.
             {log_level, none}]
    end.

%% @doc An accepted socket as a trunk's.
-spec plain(inet:socket()) -> {ok, transport()} | {error, term()}.
plain(Socket) ->
    case inet:setopts(Socket, ?WRITING) of
        ok -> {ok, {gen_tcp, Socket}};
        {error, _} = Error -> Error
    end.

%% @doc The same with TLS, once its handshake is done; by the socket's owner, who may be killed meanwhile.
-spec tls(inet:socket(), [ssl:tls_server_option()]) -> {ok, transport()} | {error, term()}.
tls(Socket, Options) ->
    case plain(Socket) of
        {ok, _} ->
            Verify = megaphone_peer_certificate:verify_fun(self()),
            case {ssl:handshake(Socket, [{verify_fun, Verify} | Options]), megaphone_peer_certificate:refused()} of
                {{ok, TlsSocket}, none} -> {ok, {ssl, TlsSocket}};
                {{error, Reason}, {ok, Name}} -> {error, {certificate, Name, Reason}};
                {{error, _} = Error, none} -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Gives it to another process, by its owner.
-spec controlling_process(transport(), pid()) -> ok | {error, term()}.
controlling_process({gen_tcp, Socket}, Owner) -> gen_tcp:controlling_process(Socket, Owner);
controlling_process({ssl, Socket}, Owner) -> ssl:controlling_process(Socket, Owner).

%% @doc Whom it leads to.
-spec peer(transport()) -> {ok, peer()} | {error, term()}.
peer({gen_tcp, _}) ->
    {ok, none};
peer({ssl, Socket}) ->
    case {ssl:connection_information(Socket, [protocol]), ssl:peercert(Socket)} of
        {{ok, [{protocol, Version}]}, {ok, Certificate}} ->
            {ok, {atom_to_binary(Version, utf8), megaphone_peer_certificate:name(Certificate)}};
        {{error, _} = Error, _} ->
            Error;
        {_, {error, _} = Error} ->
            Error
    end.

%% @doc Gives it the buffers of a busy trunk: those take 64 KiB at once.
-spec enlarge(transport()) -> ok | {error, term()}.
enlarge({gen_tcp, Socket}) -> inet:setopts(Socket, ?BUFFERS);
enlarge({ssl, Socket}) -> ssl:setopts(Socket, ?BUFFERS).

%% @doc Asks for `Count' messages more.
-spec activate(transport(), 1..32767) -> ok | {error, term()}.
activate({gen_tcp, Socket}, Count) -> inet:setopts(Socket, [{active, Count}]);
activate({ssl, Socket}, Count) -> ssl:setopts(Socket, [{active, Count}]).

%% @doc Sends all of it, or fails; any process may.
-spec send(transport(), iodata()) -> ok | {error, term()}.
send({gen_tcp, Socket}, Data) ->
    case gen_tcp:send(Socket, Data) of
        %% The peer's close shut the port while it was on its way there.
        {error, einval} -> {error, closed};
        Sent -> Sent
    end;
send({ssl, Socket}, Data) ->
    ssl:send(Socket, Data).

%% @doc What a message says of the transport; `none' if it is about something else.
-spec event(transport(), term()) -> {data, binary()} | passive | closed | {error, term()} | none.
event({gen_tcp, Socket}, {tcp, Socket, Data}) -> {data, Data};
event({gen_tcp, Socket}, {tcp_passive, Socket}) -> passive;
event({gen_tcp, Socket}, {tcp_closed, Socket}) -> closed;
event({gen_tcp, Socket}, {tcp_error, Socket, Reason}) -> {error, Reason};
event({ssl, _}, {ssl, _, Data}) -> {data, Data};
event({ssl, _}, {ssl_passive, _}) -> passive;
event({ssl, _}, {ssl_closed, _}) -> closed;
event({ssl, _}, {ssl_error, _, Reason}) -> {error, Reason};
event(_, _) -> none.

%% @doc An error of a handshake, {@link send/2} or {@link event/2} as text.
-spec format_error(term()) -> unicode:chardata().
format_error({proxy_header, Text}) -> binary_to_list(Text);
format_error({certificate, Name, Reason}) ->
    io_lib:format("~ts (the certificate of ~ts is refused)", [format_error(Reason), Name]);
format_error(Reason) when is_atom(Reason) -> inet:format_error(Reason);
%% Its texts of alerts end with a line break.
format_error(Reason) -> string:trim(ssl:format_error(Reason)).
