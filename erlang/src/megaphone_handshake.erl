%%% @doc What a trunk's socket goes through before its first frame: the PROXY header, where the listener
%%% takes one, and TLS. Both wait for the peer, so a process of their own does it, and neither ejabberd's
%%% acceptor nor the trunk's process waits. How long it may take is the trunk's to say, which ends it.
-module(megaphone_handshake).

-export([start/2]).

-export_type([settings/0, result/0]).

-type settings() :: #{proxy := boolean(), tls := megaphone_transport:tls()}.
%% The address is the one that the PROXY header names; `undefined' is the socket's own.
-type result() :: {ok, megaphone_transport:transport(), megaphone_nif:address(), megaphone_transport:peer()}
                | {error, term()}.

%% @doc Begins, by the socket's owner, which gets `{megaphone_handshake, Pid, result()}' from a process
%% that is linked to it, and has the socket again then; or answers at once.
-spec start(inet:socket(), settings()) -> {started, pid()} | result().
start(Socket, #{proxy := false, tls := none}) ->
    transport(megaphone_transport:plain(Socket), undefined);
start(Socket, Settings) ->
    Owner = self(),
    Pid = proc_lib:spawn_link(fun() -> run(Owner, Socket, Settings) end),
    case gen_tcp:controlling_process(Socket, Pid) of
        ok ->
            Pid ! {go, Owner},
            {started, Pid};
        {error, _} = Error ->
            unlink(Pid),
            exit(Pid, kill),
            Error
    end.

run(Owner, Socket, Settings) ->
    receive {go, Owner} -> ok end,
    Result = case read_header(Socket, Settings) of
                 {ok, Address} -> transport(secure(Socket, Settings), Address);
                 {error, _} = Error -> Error
             end,
    Owner ! {?MODULE, self(), hand_over(Result, Owner)}.

read_header(_Socket, #{proxy := false}) -> {ok, undefined};
read_header(Socket, #{proxy := true}) -> read_header(Socket, <<>>);
%% What follows the header is the handshake's or the trunk's.
read_header(Socket, Read) ->
    case megaphone_nif:proxy_header(Read) of
        {more, Count} ->
            case gen_tcp:recv(Socket, Count) of
                {ok, Bytes} -> read_header(Socket, <<Read/binary, Bytes/binary>>);
                {error, _} = Error -> Error
            end;
        {ok, _Address} = Done ->
            Done;
        {error, Text} ->
            {error, {proxy_header, Text}}
    end.

secure(Socket, #{tls := none}) -> megaphone_transport:plain(Socket);
secure(Socket, #{tls := Tls}) -> megaphone_transport:tls(Socket, Tls).

transport({ok, Transport}, Address) ->
    case megaphone_transport:peer(Transport) of
        {ok, Peer} -> {ok, Transport, Address, Peer};
        {error, _} = Error -> Error
    end;
transport({error, _} = Error, _Address) ->
    Error.

hand_over({ok, Transport, _Address, _Peer} = Result, Owner) ->
    case megaphone_transport:controlling_process(Transport, Owner) of
        ok -> Result;
        {error, _} = Error -> Error
    end;
hand_over(Error, _Owner) ->
    Error.
