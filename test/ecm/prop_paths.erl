%% @doc Whatever way a path is written, the ECM takes for its own what ejabberd_http would give to the
%% handlers of BOSH and WebSocket, and nothing else.
-module(prop_paths).

-include_lib("proper/include/proper.hrl").

-export([prop_same_as_ejabberd/2]).

%% @doc ejabberd is asked by itself and through the ECM; `/ws', `/bosh' and `/echo' are served by both.
-spec prop_same_as_ejabberd(megaphone_test_http:target(), megaphone_test_http:target()) -> proper:test().
prop_same_as_ejabberd(Ejabberd, Ecm) ->
    ?FORALL(Target, target(), prop_result:holds(fun() ->
        Theirs = who_answers(Ejabberd, Target),
        Ours = who_answers(Ecm, Target),
        prop_result:note("target ~s~n  ejabberd ~p~n       ECM ~p~n", [Target, Theirs, Ours]),
        Ours =:= case Theirs of
                     {ejabberd, Handler} -> {ecm, Handler};
                     _ -> Theirs
                 end
    end)).

target() ->
    ?LET({Authority, Segments, Last, Query},
         {frequency([{5, ""}, {1, "http://localhost"}, {1, "HTTP://localhost:80"}, {1, "http://localhost?a"}]),
          list(segment()),
          %% What is no escape is refused by both, but here, where they leave it as it is.
          frequency([{8, ""}, {1, "%"}, {1, "ws%4"}]),
          frequency([{4, ""}, {1, "?"}, {1, "?/ws"}, {1, "?a=%zz/../ws"}])},
         lists:flatten([Authority, ["/" ++ Segment || Segment <- Segments ++ [Last]], Query])).

segment() ->
    frequency([{6, oneof(["ws", "bosh", "echo"])},
               {2, oneof(["%77s", "w%73", "%62%6fsh", "ec%68%6F"])},
               {6, oneof(["", ".", ".."])},
               {4, oneof(["%2e%2e", ".%2E", "%2e.", "%2f", "..%2f", "%2f..", "x%2f..%2fws", "ws%2F"])},
               {2, oneof(["%2e", "...", "..ws", "ws..", ".ws", "%2577s", "%252e%252e", "ws;a", ";ws", "ws%3ba"])},
               {4, oneof(["x", "y", "WS", "ws2", "~", "\\", "%20", "%C3%A4"])}]).

%% Whose answer it is, and for ejabberd_http's handler that tells, which path it was given.
who_answers(Server, Target) ->
    Connection = megaphone_test_http:connect(Server),
    Answer = megaphone_test_http:request(Connection, "GET", Target, []),
    ok = megaphone_test_http:close(Connection),
    who(Answer).

who(#{status := 200, body := <<"{", _/binary>> = Echo}) ->
    maps:with([<<"path">>], megaphone_test_json:decode(Echo));
who(#{status := 200, body := Body}) ->
    [Who] = [Who || {Who, Text} <- [{{ejabberd, websocket}, <<"ejabberd ejabberd_http_ws">>},
                                    {{ejabberd, bosh}, <<"ejabberd mod_bosh">>},
                                    {{ecm, websocket}, <<"WebSocket clients that speak XMPP">>},
                                    {{ecm, bosh}, <<"the address of a connection manager">>}],
                    binary:match(Body, Text) =/= nomatch],
    Who;
%% mod_bosh's answer below its path, which is also ejabberd_http's to a path that it can't decode.
who(#{status := 400}) ->
    nobody_below;
who(#{status := 404, body := <<"there is nothing below this path", _/binary>>}) ->
    nobody_below;
who(#{status := 404}) ->
    nobody.
