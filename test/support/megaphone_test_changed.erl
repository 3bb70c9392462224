%% @doc Modules and applications of the installed ejabberd as another version of it may have them: the code of
%% the beam that is there, changed and compiled again.
-module(megaphone_test_changed).

-export([empty/1, without/2, renamed/2, asking_for/2, load/2, load_original/2, write/2, write_version/2]).
%% A module of ejabberd's that turns all clients away.
-export([turn_all_away/2, c2s_init/2]).

-export_type([changed/0]).

-type changed() :: {module(), Beam :: binary()}.

%% @doc A module with nothing in it.
-spec empty(module()) -> changed().
empty(Module) ->
    compile(Module, [{attribute, 1, module, Module}]).

%% @doc A module that does not export these functions.
-spec without(module(), [{atom(), arity()}]) -> changed().
without(Module, Functions) ->
    compile(Module, [case Form of
                         {attribute, Line, export, Exports} -> {attribute, Line, export, Exports -- Functions};
                         _ -> Form
                     end || Form <- forms(Module)]).

%% @doc A module that has other atoms where it had these, by old ones; functions are called by them too.
-spec renamed(module(), #{atom() => atom()}) -> changed().
renamed(Module, Names) ->
    compile(Module, rename(forms(Module), Names)).

rename({atom, Line, Atom}, Names) ->
    {atom, Line, maps:get(Atom, Names, Atom)};
rename({attribute, Line, export, Functions}, Names) ->
    {attribute, Line, export, [{maps:get(Name, Names, Name), Arity} || {Name, Arity} <- Functions]};
rename({function, Line, Name, Arity, Clauses}, Names) ->
    {function, Line, maps:get(Name, Names, Name), Arity, rename(Clauses, Names)};
rename(Term, Names) when is_tuple(Term) ->
    list_to_tuple(rename(tuple_to_list(Term), Names));
rename([Head | Tail], Names) ->
    [rename(Head, Names) | rename(Tail, Names)];
rename(Term, _Names) ->
    Term.

%% @doc A behaviour with one more callback.
-spec asking_for(module(), {atom(), arity()}) -> changed().
asking_for(Module, {_, Arity} = Function) ->
    Any = {type, 1, any, []},
    Type = {type, 1, 'fun', [{type, 1, product, lists:duplicate(Arity, Any)}, Any]},
    compile(Module, [Asked || Form <- forms(Module),
                              Asked <- case Form of
                                           {attribute, _, module, _} ->
                                               [Form, {attribute, 1, callback, {Function, [Type]}}];
                                           _ ->
                                               [Form]
                                       end]).

%% @doc Loads it into a running ejabberd.
-spec load(megaphone_test_ejabberd:ejabberd(), changed()) -> ok.
load(Ejabberd, {Module, Beam}) ->
    load(Ejabberd, Module, load_binary, [Module, atom_to_list(Module) ++ " (changed)", Beam]).

%% @doc Loads the installed one again.
-spec load_original(megaphone_test_ejabberd:ejabberd(), module()) -> ok.
load_original(Ejabberd, Module) ->
    load(Ejabberd, Module, load_file, [Module]).

load(Ejabberd, Module, Function, Arguments) ->
    _ = megaphone_test_ejabberd:call(Ejabberd, code, purge, [Module]),
    {module, Module} = megaphone_test_ejabberd:call(Ejabberd, code, Function, Arguments),
    ok.

%% @doc Writes it into a folder, which is made, for ejabberd's code path.
-spec write(file:name(), changed()) -> ok.
write(Folder, {Module, Beam}) ->
    Path = filename:join(Folder, atom_to_list(Module) ++ ".beam"),
    ok = filelib:ensure_dir(Path),
    file:write_file(Path, Beam).

%% @doc Writes ejabberd's application file, with another version.
-spec write_version(file:name(), string()) -> ok.
write_version(Folder, Version) ->
    _ = application:load(ejabberd),
    {ok, Keys} = application:get_all_key(ejabberd),
    Path = filename:join(Folder, "ejabberd.app"),
    ok = filelib:ensure_dir(Path),
    file:write_file(Path, io_lib:format("~p.~n", [{application, ejabberd,
                                                   lists:keystore(vsn, 1, Keys, {vsn, Version})}])).

%% @doc Has a running ejabberd turn all clients away, or no longer.
-spec turn_all_away(megaphone_test_ejabberd:ejabberd(), boolean()) -> ok.
turn_all_away(Ejabberd, true) ->
    megaphone_test_ejabberd:call(Ejabberd, ejabberd_hooks, add, [c2s_init, ?MODULE, c2s_init, 1]);
turn_all_away(Ejabberd, false) ->
    megaphone_test_ejabberd:call(Ejabberd, ejabberd_hooks, delete, [c2s_init, ?MODULE, c2s_init, 1]).

c2s_init(_State, _Opts) ->
    {stop, ignore}.

forms(Module) ->
    {ok, {Module, [{abstract_code, {raw_abstract_v1, Forms}}]}} =
        beam_lib:chunks(code:which(Module), [abstract_code]),
    Forms.

compile(Module, Forms) ->
    {ok, Module, Beam} = compile:forms(Forms, [binary, nowarn_unused_function]),
    {Module, Beam}.
