%% @doc Stands between an ECM and an ejabberd, and knows what they say to each other as a session moves
%% (doc/protocol.md, "How a session moves"): it holds the streams that come to a step, for as long as a case wants, while
%% the others go on. Trunks can be cut, too. It knows nothing of ours.
-module(megaphone_test_trunk_proxy).

-export([start/1, stop/1, port/1, arm/3, await_held/1, release/1, cut/1]).

-export_type([proxy/0, step/0]).

-type proxy() :: pid().
%% The frame with which a stream begins that is to take a session over, or one with such a control message.
-type step() :: takeover | mark | stay | go | token | stays | moved.

-define(TIMEOUT, 40_000).
-define(TAKEOVER, 16#e5).
-define(ALPN, 16#01).

%% A trunk that goes through: its sockets, the bytes of a frame that is not whole, the streams, and those that are held
%% with their frames, the newest first.
-record(trunk, {proxy :: pid(),
                ecm :: gen_tcp:socket(),
                node :: gen_tcp:socket(),
                rest = #{ecm => <<>>, node => <<>>} :: #{side() => binary()},
                streams = #{} :: #{{side(), pos_integer()} => stream()},
                wanted = none :: none | step(),
                held = #{} :: #{{side(), pos_integer()} => [binary()]}}).
%% Who says it.
-type side() :: ecm | node.
%% What a side has said of a stream and was not read yet, behind its PROXY header or not; or it carries something else.
-type stream() :: {header | messages, binary()} | other.

%% @doc Takes trunks and connects each to that address.
-spec start(megaphone_test_transport:address()) -> proxy().
start(Address) ->
    Self = self(),
    Proxy = spawn(fun() -> init(Self, Address) end),
    receive {Proxy, started} -> Proxy end.

-spec stop(proxy()) -> ok.
stop(Proxy) ->
    call(Proxy, stop).

-spec port(proxy()) -> inet:port_number().
port(Proxy) ->
    call(Proxy, port).

%% @doc From now on streams that come to that step are held, until so many are.
-spec arm(proxy(), step(), pos_integer()) -> ok.
arm(Proxy, Step, Count) ->
    call(Proxy, {arm, Step, Count}).

%% @doc Waits until as many are held as were to be.
-spec await_held(proxy()) -> ok.
await_held(Proxy) ->
    call(Proxy, await_held).

%% @doc They go on.
-spec release(proxy()) -> ok.
release(Proxy) ->
    call(Proxy, release).

%% @doc Closes all trunks, with what is held. Others may come.
-spec cut(proxy()) -> ok.
cut(Proxy) ->
    call(Proxy, cut).

call(Proxy, Call) ->
    Monitor = monitor(process, Proxy),
    Proxy ! {call, {self(), Monitor}, Call},
    receive
        {Monitor, Answer} ->
            true = demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, process, Proxy, Reason} ->
            ct:fail("the proxy of trunks has ended: ~p", [Reason])
    after ?TIMEOUT ->
            ct:fail("the proxy of trunks does not answer to ~p: ~p", [Call, process_info(Proxy, dictionary)])
    end.

%% The proxy: accepts, and counts what its trunks hold.

init(Owner, Address) ->
    process_flag(trap_exit, true),
    Monitor = monitor(process, Owner),
    {ok, Listen} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 1}}, {active, false}, {reuseaddr, true}]),
    Self = self(),
    Acceptor = spawn_link(fun() -> accept(Self, Listen, Address) end),
    Owner ! {Self, started},
    loop(#{owner => Monitor, listen => Listen, acceptor => Acceptor, trunks => [], step => none, left => 0,
           waiting => none}).

accept(Proxy, Listen, Address) ->
    case gen_tcp:accept(Listen) of
        {ok, Ecm} ->
            Trunk = spawn(fun() -> receive begin_ -> trunk(Proxy, Ecm, Address) end end),
            ok = gen_tcp:controlling_process(Ecm, Trunk),
            Proxy ! {trunk, Trunk},
            Trunk ! begin_,
            accept(Proxy, Listen, Address);
        {error, closed} ->
            ok
    end.

loop(#{owner := Owner, trunks := Trunks, step := Step, left := Left, waiting := Waiting} = State) ->
    put(state, State),
    receive
        {trunk, Trunk} ->
            _ = monitor(process, Trunk),
            _ = Left > 0 andalso (Trunk ! {want, Step}),
            loop(State#{trunks := [Trunk | Trunks]});
        {held, Trunk} when Left > 1 ->
            Trunk ! hold,
            loop(State#{left := Left - 1});
        {held, Trunk} when Left =:= 1 ->
            Trunk ! hold,
            [Other ! {want, none} || Other <- Trunks],
            _ = Waiting =:= none orelse reply(Waiting, ok),
            loop(State#{left := 0, waiting := none});
        {held, Trunk} ->
            Trunk ! pass,
            loop(State);
        {call, From, {arm, Wanted, Count}} ->
            [Trunk ! {want, Wanted} || Trunk <- Trunks],
            reply(From, ok),
            loop(State#{step := Wanted, left := Count});
        {call, From, await_held} when Left =:= 0 ->
            reply(From, ok),
            loop(State);
        {call, From, await_held} ->
            loop(State#{waiting := From});
        {call, From, release} ->
            [Trunk ! release || Trunk <- Trunks],
            reply(From, ok),
            loop(State);
        {call, From, cut} ->
            cut_all(Trunks),
            reply(From, ok),
            loop(State#{trunks := []});
        {call, From, port} ->
            #{listen := Listen} = State,
            {ok, Port} = inet:port(Listen),
            reply(From, Port),
            loop(State);
        {call, From, stop} ->
            cut_all(Trunks),
            reply(From, ok);
        {'DOWN', Owner, process, _, _} ->
            cut_all(Trunks);
        {'DOWN', _, process, Trunk, _} ->
            loop(State#{trunks := Trunks -- [Trunk]});
        {'EXIT', _, _} ->
            loop(State)
    end.

reply({Pid, Monitor}, Answer) ->
    Pid ! {Monitor, Answer}.

cut_all(Trunks) ->
    Monitors = [begin
                    Monitor = monitor(process, Trunk),
                    Trunk ! cut,
                    Monitor
                end || Trunk <- Trunks],
    [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    ok.

%% A trunk.

trunk(Proxy, Ecm, {Ip, Port}) ->
    case gen_tcp:connect(Ip, Port, [binary, {active, false}, {nodelay, true}]) of
        {ok, Node} ->
            ok = inet:setopts(Ecm, [{active, true}, {nodelay, true}]),
            ok = inet:setopts(Node, [{active, true}]),
            relay(#trunk{proxy = Proxy, ecm = Ecm, node = Node});
        {error, _} ->
            ok
    end.

relay(#trunk{ecm = Ecm, node = Node} = Trunk) ->
    receive
        {tcp, Ecm, Bytes} -> relay(said(ecm, Bytes, Trunk));
        {tcp, Node, Bytes} -> relay(said(node, Bytes, Trunk));
        {want, Step} -> relay(Trunk#trunk{wanted = Step});
        release -> relay(go_on(Trunk));
        cut -> ok;
        {tcp_closed, _} -> ok;
        {tcp_error, _, _} -> ok
    end.

go_on(#trunk{held = Held} = Trunk) ->
    [write(Side, lists:reverse(Frames), Trunk) || {{Side, _}, Frames} <- maps:to_list(Held)],
    Trunk#trunk{held = #{}, wanted = none}.

write(ecm, Frames, #trunk{node = Node}) -> gen_tcp:send(Node, Frames);
write(node, Frames, #trunk{ecm = Ecm}) -> gen_tcp:send(Ecm, Frames).

said(Side, Bytes, #trunk{rest = Rest} = Trunk) ->
    #{Side := Before} = Rest,
    frames(Side, <<Before/binary, Bytes/binary>>, Trunk).

%% yamux: version 0, type, flags, stream, length; data alone has more than that.
frames(Side, <<0, 0, Flags:16, Id:32, Size:32, Data:Size/binary, Rest/binary>>, Trunk) ->
    Frame = <<0, 0, Flags:16, Id:32, Size:32, Data/binary>>,
    frames(Side, Rest, frame(Side, Id, Data, Frame, Trunk));
frames(Side, <<0, Type, Flags:16, Id:32, Value:32, Rest/binary>>, Trunk) when Type =/= 0 ->
    frames(Side, Rest, frame(Side, Id, <<>>, <<0, Type, Flags:16, Id:32, Value:32>>, Trunk));
frames(Side, Rest, #trunk{rest = Rests} = Trunk) ->
    Trunk#trunk{rest = Rests#{Side := Rest}}.

frame(Side, Id, Data, Frame, #trunk{held = Held} = Trunk) ->
    {Steps, Read} = read(Side, Id, Data, Trunk),
    case Held of
        #{{Side, Id} := Frames} ->
            Read#trunk{held = Held#{{Side, Id} := [Frame | Frames]}};
        _ ->
            case lists:member(Read#trunk.wanted, Steps) andalso is_to_be_held(Read) of
                true ->
                    Read#trunk{held = Held#{{Side, Id} => [Frame]}};
                false ->
                    _ = write(Side, Frame, Read),
                    Read
            end
    end.

is_to_be_held(#trunk{proxy = Proxy}) ->
    Proxy ! {held, self()},
    receive
        hold -> true;
        pass -> false
    end.

%% Streams.

read(_Side, _Id, <<>>, Trunk) ->
    {[], Trunk};
read(Side, Id, Data, #trunk{streams = Streams} = Trunk) ->
    {Steps, Read} = steps(append(stream(Side, Id, Streams), Data), []),
    {Steps, Trunk#trunk{streams = Streams#{{Side, Id} => Read}}}.

stream(Side, Id, Streams) ->
    case {Streams, Side} of
        {#{{Side, Id} := Stream}, _} -> Stream;
        {_, ecm} -> {header, <<>>};
        %% What the ECM has said it is.
        {#{{ecm, Id} := {messages, _}}, node} -> {messages, <<>>};
        {_, node} -> other
    end.

append({Reads, Before}, Data) -> {Reads, <<Before/binary, Data/binary>>};
append(other, _Data) -> other.

steps({header, <<_:12/binary, _, _, Size:16, Body:Size/binary, Rest/binary>> = Header}, Steps) ->
    <<_:13/binary, Family, _/binary>> = Header,
    Tlvs = tlvs(binary:part(Body, addresses(Family), Size - addresses(Family))),
    case Tlvs of
        #{?ALPN := <<"xmpp-framing">>, ?TAKEOVER := Token} when Token =/= <<>> ->
            steps({messages, Rest}, [takeover | Steps]);
        #{?ALPN := <<"xmpp-framing">>} ->
            steps({messages, Rest}, Steps);
        _ ->
            {Steps, other}
    end;
steps({messages, <<3:2, Kind:6, Size:24, _:Size/binary, Rest/binary>>}, Steps) ->
    steps({messages, Rest}, [step(Kind) | Steps]);
steps({messages, <<Bits:2, Size:30, _:Size/binary, Rest/binary>>}, Steps) when Bits =/= 3 ->
    steps({messages, Rest}, Steps);
steps(Stream, Steps) ->
    {Steps, Stream}.

%% PROXY protocol, version 2: how many bytes the addresses have.
addresses(16#11) -> 12;
addresses(16#21) -> 36;
addresses(16#31) -> 216;
addresses(_) -> 0.

tlvs(<<Type, Size:16, Value:Size/binary, Rest/binary>>) -> (tlvs(Rest))#{Type => Value};
tlvs(_) -> #{}.

step(1) -> mark;
step(2) -> stay;
step(3) -> go;
step(4) -> token;
step(5) -> stays;
step(6) -> moved;
step(Kind) -> Kind.
