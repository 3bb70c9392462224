%% @doc A socket's options and statistics, as inet answers them.
-module(megaphone_options).

-export([set/3, get/3, statistics/3]).

%% @doc inet:setopts/2: `active', `packet' and `send_timeout' take effect; inet's other options
%% of a TCP socket are for a real one and accepted.
-spec set(megaphone_nif:trunk(), megaphone_nif:handle(), [gen_tcp:option() | term()]) ->
          ok | {error, atom()}.
set(Trunk, Handle, Options) ->
    try
        megaphone_nif:setopts(Trunk, Handle, lists:filter(fun effective/1, Options))
    catch
        error:_ -> {error, einval}
    end.

effective({active, _}) -> true;
effective({packet, _}) -> true;
effective({send_timeout, _}) -> true;
effective(binary) -> false;
effective({mode, binary}) -> false;
effective({Name, _Value}) when is_atom(Name), Name =/= mode -> false;
effective({raw, _Protocol, _Option, _Value}) -> false.

%% @doc inet:getopts/2: `active', `packet', `mode' and `send_timeout'; others are left out of
%% the answer, as inet leaves out what a platform lacks.
-spec get(megaphone_nif:trunk(), megaphone_nif:handle(), [atom()]) ->
          {ok, [{atom(), term()}]} | {error, einval}.
get(Trunk, Handle, Names) ->
    case megaphone_nif:getopts(Trunk, Handle) of
        closed ->
            {error, einval};
        Options ->
            All = [{mode, binary} | Options],
            {ok, [Option || Name <- Names, {Known, _} = Option <- All, Known =:= Name]}
    end.

%% @doc inet:getstat/2.
-spec statistics(megaphone_nif:trunk(), megaphone_nif:handle(), [inet:stat_option()]) ->
          {ok, [{inet:stat_option(), non_neg_integer()}]} | {error, einval}.
statistics(Trunk, Handle, Names) ->
    case megaphone_nif:getstat(Trunk, Handle) of
        closed ->
            {error, einval};
        {{RecvBytes, RecvCount, RecvMax}, {SentBytes, SentCount, SentMax}, Pending} ->
            All = #{recv_oct => RecvBytes, recv_cnt => RecvCount, recv_max => RecvMax,
                    recv_avg => average(RecvBytes, RecvCount), recv_dvi => 0,
                    send_oct => SentBytes, send_cnt => SentCount, send_max => SentMax,
                    send_avg => average(SentBytes, SentCount), send_pend => Pending},
            {ok, [{Name, maps:get(Name, All)} || Name <- Names, is_map_key(Name, All)]}
    end.

average(_Bytes, 0) -> 0;
average(Bytes, Count) -> Bytes div Count.
