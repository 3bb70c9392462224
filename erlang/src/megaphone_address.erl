%%% @doc Addresses for logs and decisions.
-module(megaphone_address).

-export([format/1, is_local/1]).

%% @doc `127.0.0.1:5290', `[::1]:5290', `unix:/path'.
-spec format(megaphone_nif:address()) -> iolist().
format({local, Path}) -> ["unix:", Path];
format({{_, _, _, _} = IP, Port}) -> [inet:ntoa(IP), $:, integer_to_list(Port)];
format({IP, Port}) -> [$[, inet:ntoa(IP), "]:", integer_to_list(Port)];
format(undefined) -> "an unknown address".

%% @doc Whether only this machine reaches it.
-spec is_local(megaphone_nif:address()) -> boolean().
is_local({local, _Path}) -> true;
is_local({{127, _, _, _}, _Port}) -> true;
is_local({{0, 0, 0, 0, 0, 0, 0, 1}, _Port}) -> true;
is_local({{0, 0, 0, 0, 0, 16#ffff, High, _}, _Port}) -> High bsr 8 =:= 127;
is_local(_) -> false.
