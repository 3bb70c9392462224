%%% @doc The process that writes a trunk's output, many frames at a time.
-module(megaphone_writer).

-export([start_link/2, flush/1]).

%% About how much is written at once (bytes).
-define(BATCH, 262144).
%% A peer that takes nothing for so long has lost its trunk (milliseconds). A connection that
%% waits for room gives up sooner, by its own send_timeout.
-define(SEND_TIMEOUT, 60000).
%% How long the last output may take when the trunk ends (milliseconds).
-define(FLUSH_TIMEOUT, 2000).
-define(WAKE, {'$megaphone', 0}).

%% @doc Starts the writer of a trunk, linked to the caller, which reads it.
-spec start_link(megaphone_nif:trunk(), inet:socket()) -> pid().
start_link(Trunk, Socket) ->
    Reader = self(),
    Writer = proc_lib:spawn_link(fun() -> init(Reader, Trunk, Socket) end),
    % Before anything is fed: the first wake must not be lost.
    ok = megaphone_nif:set_writer(Trunk, Writer),
    Writer.

%% @doc Writes what there is, and ends.
-spec flush(pid()) -> ok.
flush(Writer) ->
    Monitor = erlang:monitor(process, Writer),
    Writer ! {flush, self()},
    receive
        {'DOWN', Monitor, process, Writer, _} -> ok
    after ?FLUSH_TIMEOUT ->
        exit(Writer, kill),
        ok
    end.

init(Reader, Trunk, Socket) ->
    process_flag(trap_exit, true),
    _ = inet:setopts(Socket, [{send_timeout, ?SEND_TIMEOUT}, {send_timeout_close, true}]),
    loop(Reader, Trunk, Socket).

loop(Reader, Trunk, Socket) ->
    receive
        ?WAKE ->
            case write(Trunk, Socket) of
                ok -> loop(Reader, Trunk, Socket);
                {error, closed} -> await_end(Reader, Trunk);
                {error, Reason} -> exit(Reason)
            end;
        {flush, Reader} ->
            write(Trunk, Socket);
        {'EXIT', Reader, _Reason} ->
            %% It was killed, and had no time for this.
            megaphone_reaper:reap(megaphone_nif:lose(Trunk));
        {'EXIT', _, _} ->
            loop(Reader, Trunk, Socket)
    end.

%% The reader sees the close too, after the peer's last frames.
await_end(Reader, Trunk) ->
    receive
        {flush, Reader} -> ok;
        {'EXIT', Reader, _Reason} -> megaphone_reaper:reap(megaphone_nif:lose(Trunk))
    end.

write(Trunk, Socket) ->
    case megaphone_nif:take_output(Trunk, ?BATCH) of
        none ->
            ok;
        Batch ->
            case gen_tcp:send(Socket, Batch) of
                ok -> write(Trunk, Socket);
                {error, _} = Error -> Error
            end
    end.
