%% @doc Stands in for epmd, so that nodes of a test find each other and nobody else, and leave no daemon behind: a
%% node's name ends with the port on which it is reached. It is what `-epmd_module' of erl asks for.
-module(megaphone_test_epmd).

-export([node/1, arguments/1]).
%% As erl_epmd
-export([start_link/0, register_node/2, register_node/3, listen_port_please/2, address_please/3,
         port_please/2, port_please/3, names/1]).

-define(COOKIE, "megaphone").
%% What OTP's nodes say of their protocol since OTP 23.
-define(VERSION, 6).

%% @doc The name of the node at a port of this machine.
-spec node(inet:port_number()) -> node().
node(Port) ->
    list_to_atom("megaphone-" ++ integer_to_list(Port) ++ "@127.0.0.1").

%% @doc How erl starts the node with that name; nothing for one without.
-spec arguments(node()) -> [string()].
arguments(nonode@nohost) ->
    [];
arguments(Node) ->
    ["-name", atom_to_list(Node), "-setcookie", ?COOKIE, "-start_epmd", "false", "-epmd_module", atom_to_list(?MODULE),
     "-kernel", "inet_dist_use_interface", "{127,0,0,1}"].

start_link() ->
    ignore.

register_node(Name, Port) ->
    register_node(Name, Port, inet).

register_node(_Name, _Port, _Family) ->
    {ok, rand:uniform(3)}.

listen_port_please(Name, _Host) ->
    {ok, port_of(Name)}.

address_please(Name, _Host, _Family) ->
    {ok, {127, 0, 0, 1}, port_of(Name), ?VERSION}.

port_please(Name, Host) ->
    port_please(Name, Host, infinity).

port_please(Name, _Host, _Timeout) ->
    {port, port_of(Name), ?VERSION}.

names(_Host) ->
    {error, address}.

port_of(Name) when is_atom(Name) ->
    port_of(atom_to_list(Name));
port_of(Name) ->
    [_, Port | _] = string:lexemes(Name, "-@"),
    list_to_integer(Port).
