%% @doc An admin's browser at ejabberd's WebAdmin: it logs in, reads a page, and presses the button of a form with all
%% that the form has.
-module(megaphone_test_webadmin).

-export([get/3, press/4, press/5, hidden/2, text/1]).

-type page() :: #{status := 100..599, path := iodata(), html := binary(), cookies := [binary()]}.
-type login() :: {User :: binary(), Password :: binary()} | none.

%% @doc A page.
-spec get(megaphone_test_http:target(), login(), iodata()) -> page().
get(Target, Login, Path) ->
    request(Target, Login, "GET", Path, [], []).

%% @doc Presses the button whose name begins so.
-spec press(megaphone_test_http:target(), login(), page(), Button :: binary()) -> page().
press(Target, Login, Page, Button) ->
    press(Target, Login, Page, Button, fun(Fields) -> Fields end).

%% @doc The same with other fields than the form has.
-spec press(megaphone_test_http:target(), login(), page(), Button :: binary(),
            fun(([{binary(), binary()}]) -> [{binary(), binary()}])) -> page().
press(Target, Login, #{path := Path, cookies := Cookies} = Page, Button, Change) ->
    Body = uri_string:compose_query(Change(fields(form(Page, Button)))),
    request(Target, Login, "POST", Path, Cookies, Body).

%% @doc The names of the hidden fields of such a form.
-spec hidden(page(), Button :: binary()) -> [binary()].
hidden(Page, Button) ->
    case re:run(form(Page, Button), "<input type=.hidden. name=.([^'\"]+).", [global, {capture, all_but_first, binary}]) of
        {match, Names} -> lists:append(Names);
        nomatch -> []
    end.

%% @doc What is written on it, without its tags; lines, cells and paragraphs on lines of their own.
-spec text(page()) -> binary().
text(#{html := Html}) ->
    unescape(re:replace(re:replace(Html, "</(td|p|h1|h2|li)>|<br ?/?>|<form", "\n", [global]), "<[^>]*>", "", [global, {return, binary}])).

form(#{html := Html}, Button) ->
    {match, Forms} = re:run(Html, "<form.*?</form>", [global, dotall, {capture, first, binary}]),
    case [Form || [Form] <- Forms,
                  re:run(Form, ["<input type=.submit. name=.", Button]) =/= nomatch] of
        [Form | _] -> Form;
        [] -> ct:fail("there is no button ~ts on~n~ts", [Button, Html])
    end.

fields(Form) ->
    {match, Fields} = re:run(Form, "<input type=['\"][^'\"]*['\"] name=['\"]([^'\"]*)['\"] (?:class=['\"][^'\"]*['\"] )?"
                             "value=['\"]([^'\"]*)['\"]", [global, {capture, all_but_first, binary}]),
    [{unescape(Name), unescape(Value)} || [Name, Value] <- Fields].

unescape(Text) ->
    lists:foldl(fun({Entity, Character}, Sofar) -> binary:replace(Sofar, Entity, Character, [global]) end, Text,
                [{<<"&lt;">>, <<"<">>}, {<<"&gt;">>, <<">">>}, {<<"&quot;">>, <<"\"">>}, {<<"&apos;">>, <<"'">>},
                 {<<"&#39;">>, <<"'">>}, {<<"&amp;">>, <<"&">>}]).

request(Target, Login, Method, Path, Cookies, Body) ->
    Connection = megaphone_test_http:connect(Target),
    Response = megaphone_test_http:request(
                 Connection, Method, Path,
                 [{"Authorization", ["Basic ", base64:encode(iolist_to_binary([User, ":", Password]))]}
                  || {User, Password} <- [Login], Login =/= none]
                 ++ [{"Cookie", lists:join("; ", Cookies)} || Cookies =/= []]
                 ++ [{"Content-Type", "application/x-www-form-urlencoded"} || Method =:= "POST"],
                 Body),
    megaphone_test_http:close(Connection),
    #{status := Status, headers := Headers, body := Html} = Response,
    New = [hd(binary:split(Cookie, <<";">>)) || {<<"set-cookie">>, Cookie} <- Headers],
    #{status => Status, path => Path, html => Html, cookies => Cookies ++ New}.
