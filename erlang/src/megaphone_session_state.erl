%%% @doc A c2s state made small while its session sleeps.
%%%
%%% Most of its some fifty values are those of the host and the listener,
%%% the same in all sessions. One copy of them is a persistent term, and a packed state keeps what
%%% differs from it, with each term once: the same JID stands in a c2s state four times. Whatever
%%% differs, unpack/1 gives back exactly what was packed.
-module(megaphone_session_state).

-export([pack/1, pack_again/2, unpack/1]).

-export_type([packed/0, slept/0]).

-type state() :: megaphone_ejabberd_c2s:state().
-opaque packed() :: {packed, Shared :: map(), Own :: map(), Missing :: [term()]}.
%% A packed state, and what it was unpacked to.
-type slept() :: {packed(), state()}.

%% Binaries up to this lie in the heap, if they are no part of a larger one (bytes).
-define(HEAP_BINARY, 64).
%% The most terms that are looked at: a queue of stanzas is left as it is.
-define(MOST_TERMS, 200).

%% @doc The state with what it shares left out.
-spec pack(state()) -> packed().
pack(State) ->
    {Shared, Keys} = template(State),
    Differs = fun(Key, Value) ->
                      case Shared of
                          #{Key := Value} -> false;
                          _ -> true
                      end
              end,
    Own = maps:filter(Differs, State),
    Missing = [Key || Key <- maps:keys(Shared), not is_map_key(Key, State)],
    {packed, Shared, lay_out(values_once(Own, known(Shared)), Keys), Missing}.

%% @doc The same of a session that has slept before, if little has changed in its state: a ping changes nothing, and with
%% stream management a number. Then what was packed is taken again, with such numbers put in, and costs next to nothing.
-spec pack_again(state(), slept()) -> {ok, packed()} | changed.
pack_again(State, {Packed, State}) ->
    {ok, Packed};
pack_again(State, {{packed, Shared, Own, Missing}, Before}) when map_size(State) =:= map_size(Before) ->
    Changed = maps:filter(fun(Key, Value) ->
                                  case Before of
                                      #{Key := Value} -> false;
                                      _ -> true
                                  end
                          end, State),
    case lists:all(fun({Key, Value}) -> is_map_key(Key, Own) andalso is_number(Value) end, maps:to_list(Changed)) of
        true -> {ok, {packed, Shared, maps:fold(fun(Key, Value, Map) -> Map#{Key := Value} end, Own, Changed), Missing}};
        false -> changed
    end;
pack_again(_State, _Slept) ->
    changed.

%% @doc The state as it was.
-spec unpack(packed()) -> state().
unpack({packed, Shared, Own, Missing}) ->
    maps:merge(maps:without(Missing, Shared), Own).

%% Each host has its own, one for clients with TLS and one for those without, made by the first session that
%% sleeps: it stays as it is, since changing a persistent term makes the VM look at all processes.
template(State) ->
    Name = {?MODULE, megaphone_ejabberd_c2s:host(State), megaphone_ejabberd_c2s:security(State)},
    case persistent_term:get(Name, none) of
        none ->
            Shared = megaphone_ejabberd_c2s:shared_keys(),
            Keys = maps:from_keys(maps:keys(maps:without(Shared, State)), none),
            ok = persistent_term:put(Name, {maps:with(Shared, State), Keys}),
            persistent_term:get(Name);
        Template ->
            Template
    end.

%% The terms of the template need no room.
known(Shared) ->
    maps:from_list([{Value, Value} || Value <- maps:values(Shared),
                                      is_binary(Value) orelse is_tuple(Value)]).

%% Maps that come from one map by `:=' have its keys, at one place.
lay_out({Own, _Seen}, Keys) ->
    case map_size(Own) =:= map_size(Keys) andalso maps:keys(Own) =:= maps:keys(Keys) of
        true -> maps:fold(fun(Key, Value, Map) -> Map#{Key := Value} end, Keys, Own);
        false -> Own
    end.

values_once(Map, Seen) ->
    maps:fold(fun(Key, Value, {Map1, Seen1}) ->
                      {Value1, Seen2} = once(Value, Seen1),
                      {Map1#{Key := Value1}, Seen2}
              end, {Map, Seen}, Map).

%% The same term, in which equal terms are one and no small binary is a part of a large one. Seen is
%% each term by itself.
once(Term, Seen) when map_size(Seen) > ?MOST_TERMS ->
    {Term, Seen};
once(Term, Seen) when is_binary(Term), byte_size(Term) =< ?HEAP_BINARY; is_tuple(Term) ->
    case Seen of
        #{Term := Same} ->
            {Same, Seen};
        _ ->
            {Copy, Seen1} = copy(Term, Seen),
            {Copy, Seen1#{Copy => Copy}}
    end;
once([Head | Tail], Seen) ->
    {Head1, Seen1} = once(Head, Seen),
    {Tail1, Seen2} = once(Tail, Seen1),
    {[Head1 | Tail1], Seen2};
once(Term, Seen) when is_map(Term) ->
    values_once(Term, Seen);
once(Term, Seen) ->
    {Term, Seen}.

copy(Binary, Seen) when is_binary(Binary) ->
    {binary:copy(Binary), Seen};
copy(Tuple, Seen) ->
    {Elements, Seen1} = once(tuple_to_list(Tuple), Seen),
    {list_to_tuple(Elements), Seen1}.
