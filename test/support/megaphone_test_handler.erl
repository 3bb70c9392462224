%% @doc An HTTP handler inside the test's ejabberd. It shows what ejabberd_http made of a request, and
%% answers when a test says so, which no handler of ejabberd's does.
-module(megaphone_test_handler).

-export([process/2, release/1, release_all/1, release_the_rest/0, held/1, held_all/1, http_processes/0,
         register_users/3]).

-include_lib("ejabberd/include/ejabberd_http.hrl").

%% @doc `/echo': the request as JSON text, its body as a hash. `/echo/ip': the client's address.
%% `/echo/hold/Name': waits for release(Name), then answers the name.
%% `/echo/file/Name': a file that mod_http_fileserver has, but without asking its one process.
%% `/echo/url': where ejabberd says that it was asked. `/echo/body': the request's body itself. `/echo/after/N': `done', after N milliseconds.
process([<<"ip">>], #request{ip = {Address, _Port}}) ->
    {200, [text_plain()], misc:ip_to_list(Address)};
process([<<"url">>], #request{tp = Scheme, host = Host, port = Port}) ->
    {200, [text_plain()], io_lib:format("~ts://~ts:~b", [Scheme, Host, Port])};
process([<<"body">>], #request{data = Data}) ->
    {200, [text_plain()], Data};
process([<<"file">>, Name], _Request) ->
    Folder = gen_mod:get_module_opt(<<"localhost">>, mod_http_fileserver, docroot),
    {200, [{<<"Content-Type">>, <<"application/octet-stream">>}], {file, filename:join(Folder, Name)}};
process([<<"after">>, Milliseconds], _Request) ->
    receive after binary_to_integer(Milliseconds) -> {200, [text_plain()], <<"done">>} end;
process([<<"hold">>, Name], _Request) ->
    true = register(hold_name(Name), self()),
    receive
        release -> {200, [text_plain()], Name}
    end;
process(Path, #request{method = Method, raw_path = RawPath, length = Length, data = Data,
                       headers = Headers, host = Host, port = Port}) ->
    {200, [{<<"Content-Type">>, <<"application/json">>}],
     megaphone_test_json:encode(
       #{<<"method">> => iolist_to_binary(io_lib:format("~s", [Method])),
         <<"path">> => Path,
         <<"raw_path">> => RawPath,
         <<"host">> => Host,
         <<"port">> => Port,
         <<"length">> => Length,
         <<"sha256">> => binary:encode_hex(crypto:hash(sha256, Data)),
         <<"headers">> => maps:from_list([{iolist_to_binary(io_lib:format("~s", [Name])), Value}
                                          || {Name, Value} <- Headers])})}.

%% @doc Lets the request that waits under this name be answered.
-spec release(binary()) -> ok.
release(Name) ->
    hold_name(Name) ! release,
    ok.

%% @doc The process that waits under this name.
-spec held(binary()) -> pid() | false.
held(Name) ->
    case whereis(hold_name(Name)) of
        undefined -> false;
        Pid -> Pid
    end.

-spec release_all([binary()]) -> ok.
release_all(Names) ->
    lists:foreach(fun release/1, Names).

%% @doc Lets all requests that still wait be answered.
-spec release_the_rest() -> ok.
release_the_rest() ->
    lists:foreach(fun(Name) ->
                          case atom_to_list(Name) of
                              "megaphone_test_hold_" ++ _ -> Name ! release;
                              _ -> ok
                          end
                  end, registered()).

-spec held_all([binary()]) -> [pid() | false].
held_all(Names) ->
    lists:map(fun held/1, Names).

%% @doc The processes of ejabberd_http, one a connection.
-spec http_processes() -> [pid()].
http_processes() ->
    [Pid || Pid <- processes(), proc_lib:translate_initial_call(Pid) =:= {ejabberd_http, init, 3}].

%% @doc Makes many accounts in one call.
-spec register_users([binary()], Host :: binary(), Password :: binary()) -> ok.
register_users(Users, Host, Password) ->
    lists:foreach(fun(User) -> ok = ejabberd_auth:try_register(User, Host, Password) end, Users).

text_plain() ->
    {<<"Content-Type">>, <<"text/plain">>}.

hold_name(Name) ->
    binary_to_atom(<<"megaphone_test_hold_", Name/binary>>).
