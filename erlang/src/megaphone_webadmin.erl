%%% @doc The page of a node in ejabberd's WebAdmin: Nodes, the node, Megaphone. Who may see it and press its buttons is
%%% decided by ejabberd, as for its own pages of a node.
%%%
%%% From 24.06 on ejabberd makes the buttons of its commands itself. Before that there are forms here, with a
%%% token against requests that another site has a browser send: ejabberd's own pages have none there.
-module(megaphone_webadmin).

-export([init/0]).
%% ejabberd's hooks
-export([menu/3, page/5, page/3]).

-import(megaphone_html, [tag/2, tag/3, text/2, table/2]).

-define(PATH, <<"megaphone">>).
-define(TOKEN, <<"megaphone_token">>).
%% A trunk's number follows.
-define(CLOSE_TRUNK, "megaphone_close_trunk/").
-define(NO_BUTTONS, #{}).

%% The buttons: those of the whole node, and that of each trunk.
-type buttons() :: #{node => [megaphone_html:element()], pos_integer() => megaphone_html:element()}.

%% @doc Makes this node's token, once.
-spec init() -> ok.
init() ->
    case persistent_term:get(?MODULE, none) of
        none -> persistent_term:put(?MODULE, base64:encode(crypto:strong_rand_bytes(24)));
        _ -> ok
    end.

%% @doc The page's entry in a node's menu.
-spec menu([{binary(), binary()}], node(), Lang :: binary()) -> [{binary(), binary()}].
menu(Entries, _Node, _Lang) ->
    Entries ++ [{?PATH, <<"Megaphone">>}].

%% @doc The page, up to 24.02.
-spec page(Found, node(), Path :: [binary()], Query :: [{binary() | nokey, binary()}], Lang :: binary()) ->
          Found | {stop, [megaphone_html:element()]}.
page(_Found, Node, [?PATH], Query, _Lang) ->
    Results = press(Node, Query),
    Read = read(Node),
    {stop, content(Node, Read, forms(Read), Results)};
page(Found, _Node, _Path, _Query, _Lang) ->
    Found.

%% @doc The page, from 24.06 on.
-spec page(Found, node(), Request :: tuple()) -> Found | {stop, [megaphone_html:element()]}.
page(Found, Node, Request) ->
    case megaphone_ejabberd:request_path(Request) of
        [?PATH] ->
            %% A button that was pressed does what it does as it is made: what is shown comes after that.
            Buttons = commands(Node, read(Node), Request),
            {stop, content(Node, read(Node), Buttons, [])};
        _ ->
            Found
    end.

read(Node) ->
    megaphone_ejabberd_admin:call(Node, megaphone_overview, read, []).

%% Buttons as forms.

press(Node, Query) ->
    case is_ours(proplists:get_value(?TOKEN, Query)) of
        true -> pressed(Node, Query);
        false -> []
    end.

%% How long the comparison takes says nothing of the token.
is_ours(Token) when is_binary(Token) ->
    crypto:hash(sha256, Token) =:= crypto:hash(sha256, persistent_term:get(?MODULE));
is_ours(_) ->
    false.

pressed(Node, Query) ->
    case [Name || {<<"megaphone_", _/binary>> = Name, _} <- Query, Name =/= ?TOKEN] of
        [<<"megaphone_drain">>] -> call(Node, drain, []);
        [<<"megaphone_undrain">>] -> call(Node, undrain, []);
        [<<?CLOSE_TRUNK, Number/binary>>] -> close(Node, Number);
        _ -> []
    end.

close(Node, Text) ->
    try binary_to_integer(Text) of
        Number -> call(Node, close_trunk, [Number])
    catch
        error:badarg -> []
    end.

call(Node, Function, Arguments) ->
    case megaphone_ejabberd_admin:call(Node, megaphone_commands, Function, Arguments) of
        {badrpc, Reason} -> result(unicode:characters_to_binary(io_lib:format("~0P", [Reason, 10])));
        {_, Text} -> result(unicode:characters_to_binary(Text))
    end.

result(Text) ->
    [tag(<<"p">>, [{<<"class">>, <<"result">>}], [{xmlcdata, Text}])].

forms(#{trunks := Trunks}) ->
    maps:from_list([{node, [form(<<"megaphone_drain">>, <<"Megaphone Drain">>, <<"btn-danger">>),
                            form(<<"megaphone_undrain">>, <<"Megaphone Undrain">>, <<"">>)]}
                    | [{Number, form(<<?CLOSE_TRUNK, (integer_to_binary(Number))/binary>>, <<"Megaphone Close Trunk">>,
                                     <<"btn-danger">>)}
                       || #{number := Number} <- Trunks]]);
forms(_) ->
    ?NO_BUTTONS.

form(Name, Label, Class) ->
    tag(<<"form">>, [{<<"action">>, <<"">>}, {<<"method">>, <<"post">>}],
        [tag(<<"input">>, [{<<"type">>, <<"hidden">>}, {<<"name">>, ?TOKEN}, {<<"value">>, persistent_term:get(?MODULE)}],
             []),
         tag(<<"input">>, [{<<"type">>, <<"submit">>}, {<<"name">>, Name}, {<<"value">>, Label}, {<<"class">>, Class}],
             [])]).

%% Buttons as commands of ejabberd's. What came of the close of a trunk shows by the trunk being gone: there is no
%% room for more.

commands(Node, #{trunks := Trunks}, Request) ->
    maps:from_list([{node, [command(Node, megaphone_drain, Request, [], [{only, without_presentation}, {style, danger}]),
                            command(Node, megaphone_undrain, Request, [], [{only, without_presentation}])]}
                    | [{Number, command(Node, megaphone_close_trunk, Request,
                                        [{<<"trunk">>, integer_to_binary(Number)}],
                                        [{only, button}, {style, danger}, {input_name_append, [Number]}])}
                       || #{number := Number} <- Trunks]]);
commands(_Node, _Unknown, _Request) ->
    ?NO_BUTTONS.

command(Node, Name, Request, Arguments, Options) ->
    case megaphone_ejabberd_admin:make_command(Node, Name, Request, Arguments, Options) of
        {badrpc, _} -> {xmlcdata, <<"">>};
        Element -> Element
    end.

%% The page.

-spec content(node(), megaphone_overview:overview() | {badrpc, term()}, buttons(), [megaphone_html:element()]) ->
          [megaphone_html:element()].
content(Node, #{state := State, alarms := Alarms, counters := Counters, trunks := Trunks}, Buttons, Results) ->
    [text(<<"h1">>, [<<"Megaphone at ">>, atom_to_binary(Node, utf8)]) | Results]
        ++ [tag(<<"p">>, [text(<<"strong">>, [<<"State: ">>, atom_to_binary(State, utf8)])])]
        ++ [tag(<<"p">>, [text(<<"strong">>, [<<"Alarm: ">>, Alarm])]) || Alarm <- Alarms]
        ++ maps:get(node, Buttons, [])
        ++ [text(<<"h2">>, <<"Trunks">>) | trunks(Trunks, Buttons)]
        ++ [text(<<"h2">>, <<"Totals">>), table([], [[Name, Value] || {Name, Value} <- Counters])];
content(Node, _Unknown, _Buttons, _Results) ->
    [text(<<"h1">>, [<<"Megaphone at ">>, atom_to_binary(Node, utf8)]),
     text(<<"p">>, <<"Megaphone does not run at this node, or it can't be reached.">>)].

trunks([], _Buttons) ->
    [text(<<"p">>, <<"There is none.">>)];
trunks(Trunks, Buttons) ->
    [table([<<"Trunk">>, <<"Peer">>, <<"Since">>, <<"Sessions">>, <<"Bytes in, out">>, <<"Waiting in, out">>, <<"Errors">>],
           [trunk(Trunk, Buttons) || Trunk <- Trunks])].

%% Few columns, and the widest has the button: WebAdmin's pages are narrow.
trunk(#{number := Number, state := State, peer := Peer, certificate := Certificate, tls := Tls, version := Version,
        since := Since, sessions := Sessions, connections := Connections, bytes_in := In, bytes_out := Out,
        buffered := Buffered, unsent := Unsent, errors := Errors}, Buttons) ->
    [{lines, [integer_to_binary(Number), atom_to_binary(State, utf8), labelled("version", Version)], []},
     {lines, [Peer, <<"certificate: ", Certificate/binary>>, <<"TLS: ", Tls/binary>>],
      [maps:get(Number, Buttons, {xmlcdata, <<"">>})]},
     binary:replace(Since, <<"T">>, <<" ">>),
     {lines, kinds(Sessions) ++ [labelled("connections", Connections)], []},
     numbers([In, Out]), numbers([Buffered, Unsent]), {lines, kinds(Errors), []}].

labelled(Label, Number) ->
    iolist_to_binary([Label, ": ", integer_to_binary(Number)]).

numbers(Numbers) ->
    {lines, [integer_to_binary(Number) || Number <- Numbers], []}.

%% Those that there are, by their names.
kinds(Counts) ->
    case [labelled(atom_to_binary(Kind, utf8), Count) || {Kind, Count} <- lists:sort(maps:to_list(Counts)), Count > 0] of
        [] -> [<<"none">>];
        Kinds -> Kinds
    end.
