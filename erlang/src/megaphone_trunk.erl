%%% @doc One trunk: the process that owns its socket and reads it.
%%%
%%% ```
%%%   socket --{tcp, _, Bytes}--> megaphone_trunk --feed--> NIF --wakes--> owners
%%%   socket <------------------- megaphone_writer <-output- NIF <--send--- owners
%%% '''
%%%
%%% Reading never waits for writing: a peer that writes all before it reads can't stop both.
%%% The messages here are the socket's, at most `?ACTIVE' of them, and a few timers, so the
%%% queue stays short whatever the owners do.
-module(megaphone_trunk).

-behaviour(gen_server).

-export([start/2, start_link/2, accept/1, drain/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").

-record(state, {socket :: inet:socket(),
                trunk :: megaphone_nif:trunk(),
                writer :: pid(),
                peer :: megaphone_nif:address(),
                http_opts :: [{atom(), term()}],
                sweep_interval :: pos_integer(),
                shutdown_timeout :: non_neg_integer()}).

%% How many messages the socket may send ahead; 64 KiB each at most.
-define(ACTIVE, 100).
%% A feed above this goes to a dirty scheduler (bytes).
-define(DIRTY_FEED, 65536).
-define(BUFFERS, [{buffer, 65536}, {recbuf, 262144}, {sndbuf, 262144}, {nodelay, true}]).
%% Sweeps see a 64th of the connections each: all of them four times in an idle timeout.
-define(SWEEPS, 256).

%% @doc Starts a trunk on a socket that the caller owns; {@link accept/1} follows.
-spec start(inet:socket(), [{atom(), term()}]) -> {ok, pid()} | {error, term()}.
start(Socket, Opts) ->
    gen_server:start(?MODULE, {Socket, Opts}, []).

%% @doc As {@link start/2}, linked to the caller.
-spec start_link(inet:socket(), [{atom(), term()}]) -> {ok, pid()} | {error, term()}.
start_link(Socket, Opts) ->
    gen_server:start_link(?MODULE, {Socket, Opts}, []).

%% @doc Begins to read: the trunk owns its socket now.
-spec accept(pid()) -> ok.
accept(Pid) ->
    gen_server:cast(Pid, accept).

%% @doc Takes no new connections from here on; answers what is needed to wait for the others.
-spec drain(pid()) -> {true, {megaphone_nif:trunk(), Timeout :: non_neg_integer()}} | false.
drain(Pid) ->
    try
        {true, gen_server:call(Pid, drain)}
    catch
        exit:_ -> false
    end.

-spec init({inet:socket(), [{atom(), term()}]}) -> {ok, #state{}} | {stop, term()}.
init({Socket, Opts}) ->
    process_flag(trap_exit, true),
    Get = fun(Name) ->
                  Default = proplists:get_value(Name, megaphone_listener:listen_options()),
                  proplists:get_value(Name, Opts, Default)
          end,
    Peer = peername(Socket, proplists:get_value(sock_peer_name, Opts)),
    Trunk = megaphone_nif:open(#{content => http,
                                 max_frame_size => Get(max_frame_size),
                                 max_connections => Get(max_connections),
                                 max_trunk_buffer => Get(max_trunk_buffer),
                                 idle_timeout => Get(idle_timeout),
                                 send_timeout => Get(send_timeout),
                                 peername => Peer,
                                 sockname => sockname(Socket)}),
    State = #state{socket = Socket,
                   trunk = Trunk,
                   writer = megaphone_writer:start_link(Trunk, Socket),
                   peer = Peer,
                   http_opts = http_opts(Opts),
                   sweep_interval = sweep_interval(Get(idle_timeout)),
                   shutdown_timeout = Get(shutdown_timeout)},
    schedule_sweep(State),
    {ok, State}.

-spec handle_call(drain, gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(drain, _From, #state{trunk = Trunk} = State) ->
    ok = megaphone_nif:drain(Trunk),
    {reply, {Trunk, State#state.shutdown_timeout}, State}.

-spec handle_cast(accept, #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_cast(accept, #state{socket = Socket} = State) ->
    case inet:setopts(Socket, [{active, ?ACTIVE} | ?BUFFERS]) of
        ok -> {noreply, State};
        {error, Reason} -> stop(Reason, State)
    end.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({tcp, Socket, Data}, #state{socket = Socket} = State) ->
    feed(Data, State);
handle_info({tcp_passive, Socket}, #state{socket = Socket} = State) ->
    case inet:setopts(Socket, [{active, ?ACTIVE}]) of
        ok -> {noreply, State};
        {error, Reason} -> stop(Reason, State)
    end;
handle_info({tcp_closed, Socket}, #state{socket = Socket} = State) ->
    stop(closed, State);
handle_info({tcp_error, Socket, Reason}, #state{socket = Socket} = State) ->
    stop(Reason, State);
handle_info(sweep, #state{trunk = Trunk} = State) ->
    megaphone_reaper:reap(megaphone_nif:sweep(Trunk)),
    schedule_sweep(State),
    {noreply, State};
handle_info({'EXIT', Writer, Reason}, #state{writer = Writer} = State) ->
    stop(Reason, State);
handle_info({'EXIT', _Parent, Reason}, State) ->
    {stop, Reason, State};
handle_info(Message, State) ->
    ?LOG_WARNING("megaphone: a trunk process got a message that it does not know: ~p", [Message]),
    {noreply, State}.

%% The connections end with an error, nothing else does.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{trunk = Trunk, writer = Writer}) ->
    megaphone_writer:flush(Writer),
    megaphone_reaper:reap(megaphone_nif:lose(Trunk)).

feed(Data, #state{trunk = Trunk} = State) ->
    Fed = case byte_size(Data) > ?DIRTY_FEED of
              true -> megaphone_nif:feed_dirty(Trunk, Data);
              false -> megaphone_nif:feed(Trunk, Data)
          end,
    case Fed of
        {ok, Opened, Busy} ->
            attend(Opened, Busy, State),
            {noreply, State};
        {error, Opened, Busy, Text} ->
            attend(Opened, Busy, State),
            ?LOG_ERROR("megaphone: the trunk from ~ts ends: ~ts. Its peer does not speak version 1 "
                       "of the trunk protocol, or lost its place in it.",
                       [format_address(State#state.peer), Text]),
            {stop, normal, State}
    end.

attend(Opened, Busy, State) ->
    lists:foreach(fun(Handle) -> start_owner(Handle, State) end, Opened),
    megaphone_reaper:reap(Busy).

%% The owner finds its data waiting, however late it asks for it.
start_owner(Handle, #state{trunk = Trunk, http_opts = Opts}) ->
    case ejabberd_http:start(gen_tcp, megaphone:socket(Trunk, Handle), Opts) of
        {ok, Owner} -> megaphone_nif:own(Trunk, Handle, Owner);
        _ -> megaphone_nif:close(Trunk, Handle)
    end.

stop(closed, State) ->
    log_end("closed by its peer", State),
    {stop, normal, State};
stop(normal, State) ->
    {stop, normal, State};
stop(Reason, State) when is_atom(Reason) ->
    log_end(inet:format_error(Reason), State),
    {stop, normal, State};
stop(Reason, State) ->
    {stop, Reason, State}.

log_end(Why, #state{trunk = Trunk, peer = Peer}) ->
    {ok, #{connections := Connections}} = megaphone:status(megaphone_nif:number(Trunk)),
    ?LOG_NOTICE("megaphone: the trunk from ~ts is lost with ~b connections: ~ts",
                [format_address(Peer), Connections, Why]).

%% Our own options mean nothing to ejabberd_http; the peer's name comes from the socket.
http_opts(Opts) ->
    Known = [Name || {Name, _} <- ejabberd_http:listen_options(), Name =/= tls],
    [Opt || {Name, _} = Opt <- Opts, lists:member(Name, Known)].

%% With use_proxy_protocol ejabberd's listener has read the trunk's real peer.
peername(_Socket, {_Local, Peer}) ->
    Peer;
peername(Socket, undefined) ->
    case inet:peername(Socket) of
        {ok, Peer} -> Peer;
        {error, _} -> undefined
    end.

sockname(Socket) ->
    case inet:sockname(Socket) of
        {ok, Name} -> Name;
        {error, _} -> undefined
    end.

format_address({local, _Path}) -> "a Unix socket";
format_address({IP, Port}) -> [inet:ntoa(IP), $:, integer_to_list(Port)];
format_address(undefined) -> "an unknown address".

sweep_interval(infinity) -> 1000;
sweep_interval(IdleTimeout) -> max(10, min(1000, IdleTimeout div ?SWEEPS)).

schedule_sweep(#state{sweep_interval = Interval}) ->
    _ = erlang:send_after(Interval, self(), sweep),
    ok.
