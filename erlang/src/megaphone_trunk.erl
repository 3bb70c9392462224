%%% @doc One trunk: the process that owns its socket and reads it.
%%%
%%% ```
%%%   socket --{tcp, _, Bytes}--> megaphone_trunk --feed--> NIF --wakes--> owners
%%%   socket <------------------- megaphone_writer <-output- NIF <--send--- owners
%%% '''
%%%
%%% Reading never waits for writing: a peer that writes all before it reads can't stop both.
%%% The messages here are the socket's, at most `?ACTIVE' of them, and a few timers, so the
%%% queue stays short whatever the owners do. Nothing here waits for the peer, and nothing costs by the
%%% number of other trunks.
%%%
%%% Whoever reaches the port can have a trunk. Until it has said a whole frame it has no large buffers,
%%% and its process stands back for those of the others.
-module(megaphone_trunk).

-behaviour(gen_server).

-export([start/2, start_link/2, accept/1, close/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {socket :: inet:socket(),
                handshake :: handshake(),
                transport :: undefined | megaphone_transport:transport(),
                %% Whether a whole frame has come.
                is_proven = false :: boolean(),
                trunk :: megaphone_nif:trunk(),
                writer :: undefined | pid(),
                address :: megaphone_nif:address(),
                peer = none :: megaphone_transport:peer(),
                owners :: megaphone_owner:options(),
                sweep_interval :: pos_integer(),
                sweep :: undefined | reference(),
                timeouts :: megaphone_drain:timeouts(),
                acceptor :: reference(),
                %% Who sees to the trunk's end; the last of its XMPP clients in the end.
                draining = nobody :: nobody | ejabberd | itself | last_client,
                %% The monitor of the process that does, for the listener.
                drain :: undefined | reference()}).

%% It is due when {@link accept/1} says so, then a process does it.
-type handshake() :: {due, megaphone_handshake:settings()} | pid() | done.

%% How many messages the socket may send ahead; 64 KiB each at most.
-define(ACTIVE, 100).
%% A feed above this goes to a dirty scheduler (bytes).
-define(DIRTY_FEED, 65536).
%% How long a trunk may take to end in order (milliseconds).
-define(CLOSE_TIMEOUT, 5000).
%% Sweeps see a 64th of the connections each: all of them four times in an idle timeout.
-define(SWEEPS, 256).

%% @doc Starts a trunk on a socket that the caller owns; {@link accept/1} follows.
-spec start(inet:socket(), [{atom(), term()}]) -> {ok, pid()} | ignore | {error, term()}.
start(Socket, Opts) ->
    gen_server:start(?MODULE, {Socket, Opts}, []).

%% @doc As {@link start/2}, linked to the caller.
-spec start_link(inet:socket(), [{atom(), term()}]) -> {ok, pid()} | ignore | {error, term()}.
start_link(Socket, Opts) ->
    gen_server:start_link(?MODULE, {Socket, Opts}, []).

%% @doc Begins to read: the trunk owns its socket now.
-spec accept(pid()) -> ok.
accept(Pid) ->
    gen_server:cast(Pid, accept).

%% @doc Ends a trunk, and its connections with it: an admin wants it. Returns when it has ended.
-spec close(pid()) -> ok.
close(Pid) ->
    Monitor = monitor(process, Pid),
    gen_server:cast(Pid, close),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after ?CLOSE_TIMEOUT ->
        %% Its writer ends the connections then.
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, _} -> ok end
    end.

-spec init({inet:socket(), [{atom(), term()}]}) -> {ok, #state{}}.
init({Socket, Opts}) ->
    process_flag(trap_exit, true),
    process_flag(priority, low),
    Get = fun(Name) -> megaphone_listener_options:get(Name, Opts) end,
    Address = peername(Socket),
    Acceptor = megaphone_listener_options:acceptor(Opts),
    Trunk = megaphone_nif:open(#{content => http,
                                 max_frame_size => Get(max_frame_size),
                                 max_connections => Get(max_connections),
                                 max_trunk_buffer => Get(max_trunk_buffer),
                                 max_trunk_output => Get(max_trunk_output),
                                 idle_timeout => Get(idle_timeout),
                                 send_timeout => Get(send_timeout),
                                 handshake_timeout => Get(handshake_timeout),
                                 frame_timeout => Get(frame_timeout),
                                 ceilings => megaphone_listener_options:ceilings(Opts),
                                 listener => Acceptor,
                                 peername => Address,
                                 sockname => sockname(Socket)}),
    State = #state{socket = Socket,
                   handshake = {due, #{proxy => megaphone_listener_options:takes_proxy_header(Opts),
                                       tls => megaphone_transport:tls_options(Opts)}},
                   trunk = Trunk,
                   address = Address,
                   owners = megaphone_owner:options(Opts),
                   sweep_interval = sweep_interval(Get(idle_timeout)),
                   timeouts = #{shutdown_timeout => Get(shutdown_timeout), drain_timeout => Get(drain_timeout)},
                   acceptor = monitor(process, Acceptor)},
    {ok, schedule_sweep(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(drain, _From, #state{trunk = Trunk, draining = Draining} = State) ->
    _ = Draining =:= ejabberd orelse megaphone_nif:drain(Trunk),
    {reply, {Trunk, State#state.timeouts}, State#state{draining = ejabberd}};
handle_call(Call, _From, State) ->
    stray({call, Call}),
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_cast(accept, #state{handshake = {due, Settings}, socket = Socket} = State) ->
    case megaphone_handshake:start(Socket, Settings) of
        {started, Pid} -> {noreply, State#state{handshake = Pid}};
        Result -> shaken(Result, State)
    end;
handle_cast(drain, #state{draining = nobody} = State) ->
    {noreply, drain_alone(State#state{draining = itself})};
handle_cast(drain, State) ->
    {noreply, State};
handle_cast(close, State) ->
    stop({error, closed_by_admin}, State);
handle_cast(Cast, State) ->
    stray({cast, Cast}),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({timeout, Sweep, sweep}, #state{sweep = Sweep, trunk = Trunk} = State) ->
    megaphone_reaper:reap(megaphone_nif:sweep(Trunk)),
    log_held_up(megaphone_nif:held_up(Trunk), State),
    case megaphone_nif:tick(Trunk) of
        ok -> leave(drain_alone(schedule_sweep(State)));
        {error, Text} -> fail(Text, State)
    end;
handle_info({megaphone_handshake, Pid, Result}, #state{handshake = Pid} = State) ->
    shaken(Result, State);
handle_info({'DOWN', Acceptor, process, _, _}, #state{acceptor = Acceptor, draining = nobody} = State) ->
    {noreply, drain_alone(State#state{draining = itself})};
handle_info({'DOWN', Acceptor, process, _, _}, #state{acceptor = Acceptor} = State) ->
    %% ejabberd stops: the sessions that it ends next have last words for their clients.
    {noreply, State};
handle_info({'DOWN', Drain, process, _, _}, #state{drain = Drain} = State) ->
    leave(State#state{draining = last_client});
handle_info({'EXIT', Writer, {shutdown, Reason}}, #state{writer = Writer} = State) ->
    stop({error, Reason}, State);
handle_info({'EXIT', Writer, Reason}, #state{writer = Writer} = State) ->
    stop({error, Reason}, State);
handle_info({'EXIT', Socket, _Reason}, #state{socket = Socket} = State) ->
    stop(closed, State);
handle_info({'EXIT', _Process, normal}, State) ->
    %% The handshake is over, or somebody has ended whom we don't know.
    {noreply, State};
handle_info({'EXIT', Handshake, Reason}, #state{handshake = Handshake} = State) ->
    stop({error, Reason}, State);
handle_info({'EXIT', _Process, Reason}, State) ->
    {stop, Reason, State};
handle_info(Message, #state{transport = Transport} = State) ->
    case megaphone_transport:event(Transport, Message) of
        {data, Data} -> feed(Data, write(State));
        passive -> activate(State);
        closed -> stop(closed, State);
        {error, Reason} -> stop({error, Reason}, State);
        none ->
            stray(Message),
            {noreply, State}
    end.

shaken({ok, Transport, Address, Peer}, State) ->
    activate(introduce(Address, Peer, State#state{handshake = done, transport = Transport}));
shaken({error, closed}, State) ->
    stop(closed, State#state{handshake = done});
shaken({error, Reason}, State) ->
    stop({error, Reason}, State#state{handshake = done}).

introduce(undefined, none, State) ->
    State;
introduce(undefined, {Version, Certificate} = Peer, #state{trunk = Trunk} = State) ->
    ok = megaphone_nif:set_tls(Trunk, Version, Certificate),
    State#state{peer = Peer};
introduce(Address, Peer, #state{trunk = Trunk} = State) ->
    ok = megaphone_nif:set_peername(Trunk, Address),
    introduce(undefined, Peer, State#state{address = Address}).

activate(#state{transport = Transport} = State) ->
    case megaphone_transport:activate(Transport, ?ACTIVE) of
        ok -> {noreply, State};
        {error, Reason} -> stop({error, Reason}, State)
    end.

%% The connections end with an error, nothing else does.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{writer = undefined, handshake = Handshake}) ->
    %% It has no connections, and is forgotten with this process.
    _ = is_pid(Handshake) andalso exit(Handshake, kill),
    ok;
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
            {noreply, prove(State)};
        {error, Opened, Busy, Text} ->
            attend(Opened, Busy, State),
            fail(Text, State)
    end.

fail(Text, State) ->
    log(State, error, "megaphone: ~ts ends: ~ts", [name(State), Text]),
    {stop, normal, State}.

%% Before its peer has said anything, there is nothing to write.
write(#state{writer = undefined, trunk = Trunk, transport = Transport} = State) ->
    State#state{writer = megaphone_writer:start_link(Trunk, Transport)};
write(State) ->
    State.

prove(#state{is_proven = true} = State) ->
    State;
prove(#state{trunk = Trunk, transport = Transport} = State) ->
    case has_said_a_frame(Trunk) of
        true ->
            _ = process_flag(priority, normal),
            %% If it is closed, the next message says so.
            _ = megaphone_transport:enlarge(Transport),
            log_begin(State),
            _ = megaphone_drain:is_told() andalso gen_server:cast(self(), drain),
            State#state{is_proven = true};
        false ->
            State
    end.

has_said_a_frame(Trunk) ->
    maps:get(frames_in, megaphone_nif:status(Trunk)) > 0.

attend(Opened, Busy, #state{trunk = Trunk, owners = Owners}) ->
    lists:foreach(fun(New) -> megaphone_owner:start(Trunk, New, Owners) end, Opened),
    megaphone_reaper:reap_left(Busy).

%% The listener that accepted the trunk is gone, and its options with it, or the node was told to drain. A peer that
%% speaks version 2 is told so and goes elsewhere with what is new; one that speaks version 1 stays.
drain_alone(#state{draining = itself, drain = undefined, trunk = Trunk,
                   timeouts = #{shutdown_timeout := Timeout}} = State) ->
    case megaphone_nif:version(Trunk) of
        2 ->
            {_, Drain} = spawn_monitor(fun() -> megaphone_drain:one(Trunk, Timeout) end),
            State#state{drain = Drain};
        _ ->
            State
    end;
drain_alone(State) ->
    State.

%% XML streams and sessions last as long as their clients want.
leave(#state{draining = last_client, trunk = Trunk} = State) ->
    case megaphone_nif:is_serving(Trunk) of
        false -> {stop, normal, State};
        true -> {noreply, State}
    end;
leave(State) ->
    {noreply, State}.

stop(closed, State) ->
    log_end("closed by its peer", State),
    {stop, normal, State};
stop({error, closed_by_admin}, State) ->
    log_end("closed by megaphone_close_trunk", State),
    {stop, normal, State};
stop({error, normal}, State) ->
    {stop, normal, State};
stop({error, Reason}, State) ->
    log_end(megaphone_transport:format_error(Reason), State),
    {stop, normal, State}.

log_begin(#state{trunk = Trunk} = State) ->
    megaphone_log:bounded(begun, info, "megaphone: ~ts is up: its number is ~b, its version ~b",
                          [name(State), megaphone_nif:number(Trunk), megaphone_nif:version(Trunk)]).

log_end(Why, #state{trunk = Trunk} = State) ->
    #{connections := Connections} = megaphone_nif:status(Trunk),
    log(State, notice, "megaphone: ~ts is lost with ~b connections: ~ts", [name(State), Connections, Why]).

name(#state{address = Address, peer = none}) ->
    ["the trunk from ", megaphone_address:format(Address)];
name(#state{peer = {Version, Certificate}} = State) ->
    [name(State#state{peer = none}), " (certificate of ", Certificate, ", ", Version, ")"].

%% Whoever reaches the port can bring about the end of a trunk without a frame.
log(#state{trunk = Trunk}, Level, Format, Arguments) ->
    case has_said_a_frame(Trunk) of
        false -> megaphone_log:bounded(unproven, notice, Format, Arguments);
        true -> megaphone_log:bounded(ended, Level, Format, Arguments)
    end.

log_held_up(0, _State) ->
    ok;
log_held_up(Sends, State) ->
    megaphone_log:bounded(held_up, warning,
                          "megaphone: ~ts is full of output (max_trunk_output): ~b sends had to "
                          "wait. It is slower than what is asked of it, or its clients do not read.",
                          [name(State), Sends]).

stray(Message) ->
    megaphone_log:stray("the process of a trunk", Message).

peername(Socket) ->
    case inet:peername(Socket) of
        {ok, Peer} -> Peer;
        {error, _} -> undefined
    end.

sockname(Socket) ->
    case inet:sockname(Socket) of
        {ok, Name} -> Name;
        {error, _} -> undefined
    end.

sweep_interval(infinity) -> 1000;
sweep_interval(IdleTimeout) -> max(10, min(1000, IdleTimeout div ?SWEEPS)).

schedule_sweep(#state{sweep_interval = Interval} = State) ->
    State#state{sweep = erlang:start_timer(Interval, self(), sweep)}.
