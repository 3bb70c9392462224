%%% @doc What an admin's side of this application calls of ejabberd and knows of it: its commands, its WebAdmin, its
%%% modules. {@link megaphone_ejabberd} has the rest.
-module(megaphone_ejabberd_admin).

-export([register_commands/1, unregister_commands/1]).
-export([is_loaded_elsewhere/2, delete_hook/3]).
-export([call/4, make_command/5]).

-export_type([command/0]).

-type command() :: #{name := atom(), function := {module(), atom()}, desc := string(), result := {atom(), term()},
                     longdesc => string(), args => [{atom(), atom()}], args_desc => [string()], args_example => [term()],
                     result_desc => string(), result_example => term()}.

%% A command of ejabberd's.
-record(ejabberd_commands, {name :: atom(),
                            tags = [megaphone] :: [atom()],
                            desc :: string(),
                            longdesc = "" :: string(),
                            version = 0 :: integer(),
                            note = "" :: string(),
                            weight = 1 :: integer(),
                            module :: module(),
                            function :: atom(),
                            args = [] :: list(),
                            policy = restricted :: atom(),
                            access = [] :: list(),
                            definer = mod_megaphone :: atom(),
                            result :: {atom(), term()},
                            args_rename = [] :: list(),
                            args_desc = none :: none | [string()],
                            result_desc = none :: none | string(),
                            args_example = none :: none | [term()],
                            result_example = none :: term()}).

%% @doc Adds commands, for `ejabberdctl' and the API. A second one of a name is an error to ejabberd 26.07.
-spec register_commands([command()]) -> ok.
register_commands(Commands) ->
    Known = [element(1, Command) || Command <- ejabberd_commands:list_commands()],
    ejabberd_commands:register_commands(mod_megaphone, [record(Command) || #{name := Name} = Command <- Commands,
                                                                           not lists:member(Name, Known)]).

%% @doc Takes them back.
-spec unregister_commands([command()]) -> ok.
unregister_commands(Commands) ->
    ejabberd_commands:unregister_commands([record(Command) || Command <- Commands]).

record(#{name := Name, function := {Module, Function}, desc := Text, result := Result} = Command) ->
    #ejabberd_commands{name = Name, desc = Text, module = Module, function = Function, result = Result,
                       longdesc = maps:get(longdesc, Command, ""),
                       args = maps:get(args, Command, []),
                       args_desc = maps:get(args_desc, Command, none),
                       args_example = maps:get(args_example, Command, none),
                       result_desc = maps:get(result_desc, Command, none),
                       result_example = maps:get(result_example, Command, none)}.

%% @doc Whether another host has the module.
-spec is_loaded_elsewhere(binary(), module()) -> boolean().
is_loaded_elsewhere(Host, Module) ->
    gen_mod:is_loaded_elsewhere(Host, Module).

%% @doc Takes back what megaphone_ejabberd:add_hook/3 has added.
-spec delete_hook(atom(), {module(), atom()}, non_neg_integer()) -> ok.
delete_hook(Hook, {Module, Function}, Sequence) ->
    ejabberd_hooks:delete(Hook, Module, Function, Sequence).

%% @doc Calls a function at a node of the cluster.
-spec call(node(), module(), atom(), [term()]) -> term() | {badrpc, term()}.
call(Node, Module, Function, Arguments) ->
    ejabberd_cluster:call(Node, Module, Function, Arguments).

%% @doc The button of a command at a node, and what came of it if the request has pressed it. ejabberd asks its
%% api_permissions, and from 26.07 on for a token against CSRF. It is there from 24.06 on.
-spec make_command(node(), atom(), Request :: tuple(), Arguments :: [{binary(), binary()}], Options :: [{atom(), term()}]) ->
          fxml:xmlel() | {xmlcdata, binary()} | {badrpc, term()}.
make_command(Node, Name, Request, Arguments, Options) ->
    call(Node, ejabberd_web_admin, make_command, [Name, Request, Arguments, Options]).
