%% @doc Writes the ejabberd.yml of a test's ejabberd, and the options of its listeners.
-module(megaphone_test_config).

-export([yaml/2, listener/3, listener/2, request_handlers/0]).

%% Two virtual hosts: the second one gives a BOSH session up after three seconds without a request.
-define(HOSTS, "[localhost, impatient.localhost]").

%% @doc The whole file. `Listeners' are listener/3's. Settings:
%% `top', more options at the top level; `modules', more modules; `commands_from', which of ejabberd's modules may call
%% commands; all as YAML.
-spec yaml([iodata()], #{dir := file:name(), top => iodata(), modules => iodata(), commands_from => iodata()}) -> iodata().
yaml(Listeners, #{dir := Dir} = Settings) ->
    ["hosts: " ?HOSTS "\n"
     "loglevel: info\n"
     "log_rotate_size: infinity\n"
     "auth_password_format: plain\n"
     "acme:\n"
     "  auto: false\n"
     %% A test kills ejabberd and cuts connections by the hundred: none of that is overload.
     "oom_killer: false\n"
     "api_permissions:\n"
     "  everything:\n",
     maps:get(commands_from, Settings, "    from: mod_http_api\n"),
     "    who: all\n"
     "    what: \"*\"\n",
     maps:get(top, Settings, ""),
     listen(Listeners),
     "modules:\n"
     "  mod_adhoc: {}\n"
     "  mod_admin_extra: {}\n"
     "  mod_bosh: {}\n"
     "  mod_disco: {}\n"
     "  mod_http_api: {}\n"
     "  mod_http_fileserver:\n"
     "    docroot: ", quote(filename:join(Dir, "files")), "\n"
     "  mod_http_upload:\n"
     "    docroot: ", quote(filename:join(Dir, "upload")), "\n"
     "    put_url: http://localhost/upload\n"
     "    access: all\n"
     "  mod_roster: {}\n"
     "  mod_stream_mgmt: {}\n",
     maps:get(modules, Settings, ""),
     "host_config:\n"
     "  impatient.localhost:\n"
     "    modules:\n"
     "      mod_bosh:\n"
     "        max_inactivity: 3\n"
     "      mod_offline: {}\n"
     "      mod_roster: {}\n"].

%% @doc A listener on a port of the loopback address that serves all HTTP handlers.
-spec listener(module(), inet:port_number()) -> iodata().
listener(Module, Port) ->
    listener(Module, Port, ["    ip: \"127.0.0.1\"\n", request_handlers()]).

%% @doc A listener with the options given, as YAML that is indented by four spaces.
-spec listener(module(), inet:port_number() | iodata(), iodata()) -> iodata().
listener(Module, Port, Options) when is_integer(Port) ->
    listener(Module, integer_to_list(Port), Options);
listener(Module, Port, Options) ->
    ["  -\n"
     "    port: ", Port, "\n"
     "    module: ", atom_to_list(Module), "\n",
     backlog(Module),
     Options].

%% ejabberd's default of 5 drops connections as soon as a test opens many at once; ours is its own.
backlog(megaphone_listener) -> "";
backlog(_Module) -> "    backlog: 1024\n".

%% @doc What stands behind a listener: BOSH, WebSocket, commands, upload and files.
-spec request_handlers() -> iodata().
request_handlers() ->
    "    request_handlers:\n"
    "      /bosh: mod_bosh\n"
    "      /ws: ejabberd_http_ws\n"
    "      /api: mod_http_api\n"
    "      /upload: mod_http_upload\n"
    "      /files: mod_http_fileserver\n"
    "      /echo: megaphone_test_handler\n".

listen([]) -> "listen: []\n";
listen(Listeners) -> ["listen:\n" | Listeners].

quote(Text) ->
    ["\"", Text, "\""].
