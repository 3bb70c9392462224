%%% @doc The process that writes a trunk's output, many frames at a time.
-module(megaphone_writer).

-export([start_link/2, flush/1]).

-include("megaphone_messages.hrl").

%% About how much is written at once (bytes).
-define(BATCH, 262144).
%% How long the last output may take when the trunk ends (milliseconds).
-define(FLUSH_TIMEOUT, 2000).

%% @doc Starts the writer of a trunk, linked to the caller, which reads it.
-spec start_link(megaphone_nif:trunk(), megaphone_transport:transport()) -> pid().
start_link(Trunk, Transport) ->
    Reader = self(),
    Writer = proc_lib:spawn_link(fun() -> init(Reader, Trunk, Transport) end),
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

init(Reader, Trunk, Transport) ->
    process_flag(trap_exit, true),
    loop(Reader, Trunk, Transport).

loop(Reader, Trunk, Transport) ->
    receive
        ?WAKE_WRITER ->
            case write(Trunk, Transport) of
                ok -> loop(Reader, Trunk, Transport);
                {error, closed} -> await_end(Reader, Trunk);
                {error, Reason} -> exit({shutdown, Reason})
            end;
        {flush, Reader} ->
            write(Trunk, Transport);
        {'EXIT', Reader, _Reason} ->
            %% It was killed, and had no time for this.
            megaphone_reaper:reap(megaphone_nif:lose(Trunk));
        {'EXIT', _, _} ->
            loop(Reader, Trunk, Transport);
        Message ->
            stray(Message),
            loop(Reader, Trunk, Transport)
    end.

%% The reader sees the close too, after the peer's last frames.
await_end(Reader, Trunk) ->
    receive
        {flush, Reader} -> ok;
        {'EXIT', Reader, _Reason} -> megaphone_reaper:reap(megaphone_nif:lose(Trunk));
        ?WAKE_WRITER -> await_end(Reader, Trunk);
        {'EXIT', _, _} -> await_end(Reader, Trunk);
        Message -> stray(Message), await_end(Reader, Trunk)
    end.

stray(Message) ->
    megaphone_log:stray("the writer of a trunk", Message).

write(Trunk, Transport) ->
    case megaphone_nif:take_output(Trunk, ?BATCH) of
        none ->
            ok;
        Batch ->
            case megaphone_transport:send(Transport, Batch) of
                ok -> write(Trunk, Transport);
                {error, _} = Error -> Error
            end
    end.
