%% @doc What stands between clients and the ECM: Apache, nginx or HAProxy as Debian has them, or node-xmpp-bosh, a BOSH
%% server that connects to the ECM as an XMPP client. Each is one process without privileges, daemon or service, with a
%% configuration and a log of its own.
-module(megaphone_test_front).

-export([start/4, start_round_robin/4, stop/1, missing/1]).

-export_type([kind/0, balancer/0, front/0]).

%% How it tells the client's address: by X-Forwarded-For, or by a header of the PROXY protocol.
-type kind() :: apache | nginx | nginx_proxy | haproxy | haproxy_proxy | haproxy_proxy_v2 | node_xmpp_bosh.
%% What sends one request after the other to another ECM, whoever's it is.
-type balancer() :: nginx | haproxy.
-opaque front() :: megaphone_test_program:program().

%% @doc Starts it on a port of the loopback address; it connects to the other one. Answers when it takes
%% connections.
-spec start(kind(), Dir :: file:name(), Port :: inet:port_number(), Ecm :: inet:port_number()) -> front().
start(Kind, Dir, Port, Ecm) ->
    Ports = [integer_to_list(Port), integer_to_list(Ecm)],
    start(Kind, Dir, Port, Ports, config(Kind, Dir, Ports)).

%% @doc The same in front of several ECMs, without stickiness: each request goes to the next one.
-spec start_round_robin(balancer(), Dir :: file:name(), Port :: inet:port_number(), Ecms :: [inet:port_number()]) ->
          front().
start_round_robin(Balancer, Dir, Port, Ecms) ->
    Ports = [integer_to_list(P) || P <- [Port | Ecms]],
    start(Balancer, Dir, Port, Ports, round_robin(Balancer, Dir, Ports)).

start(Kind, Dir, Port, Ports, Text) ->
    Config = filename:join(Dir, "front.conf"),
    ok = filelib:ensure_dir(Config),
    {Program, Arguments} = command(Kind, Dir, Config, Ports),
    ok = file:write_file(Config, Text),
    {ok, Front} = megaphone_test_program:start(Program, Arguments,
                                               #{log => filename:join(Dir, "output.log")}),
    megaphone_test_wait:until(
      fun() -> io_lib:format("~p to take connections; it says~n~ts",
                             [Kind, megaphone_test_program:output(Front)])
      end,
      fun() -> takes_connections(Port) end),
    Front.

-spec stop(front()) -> ok.
stop(Front) ->
    megaphone_test_program:signal(megaphone_test_program:os_pid(Front), "TERM"),
    _ = megaphone_test_program:await_exit(Front, 10_000),
    megaphone_test_program:kill(Front).

%% @doc As megaphone_test_clients:missing/1: all but one are Debian's, and required.
-spec missing(kind()) -> none | {skip, Reason :: string()}.
missing(node_xmpp_bosh) ->
    %% npm may take a part in C++ for built that was built for another system.
    case megaphone_test_program:run(os:find_executable("node"), ["-e", "require('node-expat')"],
                                    #{log => "/dev/null", cd => node_xmpp_bosh()}) of
        {0, _} -> none;
        {_, _} -> {skip, "node-xmpp-bosh isn't installed, as its part in C++ doesn't compile here"}
    end;
missing(_) ->
    none.

node_xmpp_bosh() ->
    filename:join(megaphone_test_clients:folder(), "node-xmpp-bosh").

command(node_xmpp_bosh, _Dir, _Config, Ports) ->
    {os:find_executable("node"), [filename:join(node_xmpp_bosh(), "serve.js") | Ports]};
command(apache, _Dir, Config, _Ports) ->
    %% -X: one process.
    {"/usr/sbin/apache2", ["-X", "-f", Config]};
command(Nginx, Dir, Config, _Ports) when Nginx =:= nginx; Nginx =:= nginx_proxy ->
    {"/usr/sbin/nginx", ["-p", Dir, "-c", Config, "-e", filename:join(Dir, "error.log")]};
command(_Haproxy, _Dir, Config, _Ports) ->
    {"/usr/sbin/haproxy", ["-db", "-f", Config]}.

config(node_xmpp_bosh, _Dir, _Ports) ->
    "";
config(apache, Dir, [Port, Ecm]) ->
    Modules = ["mpm_event", "authz_core", "proxy", "proxy_http", "proxy_wstunnel"],
    ["ServerRoot \"", Dir, "\"\n"
     "ServerName localhost\n"
     "DefaultRuntimeDir \"", Dir, "\"\n"
     "PidFile \"", Dir, "/apache.pid\"\n"
     "ErrorLog \"", Dir, "/error.log\"\n",
     [["LoadModule ", Module, "_module /usr/lib/apache2/modules/mod_", Module, ".so\n"]
      || Module <- Modules],
     %% An apache that is started by root changes to this user.
     "<IfModule !unixd_module>\n"
     "LoadModule unixd_module /usr/lib/apache2/modules/mod_unixd.so\n"
     "</IfModule>\n"
     "User www-data\n"
     "Group www-data\n"
     "Listen 127.0.0.1:", Port, "\n"
     "ProxyPass /ws ws://127.0.0.1:", Ecm, "/ws\n"
     "ProxyPass / http://127.0.0.1:", Ecm, "/\n"];
config(nginx, Dir, [Port, Ecm]) ->
    [nginx_top(Dir, ""),
     "http {\n"
     "  access_log off;\n",
     [["  ", Name, "_temp_path ", Dir, "/", Name, ";\n"]
      || Name <- ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]],
     "  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n"
     "  server {\n"
     "    listen 127.0.0.1:", Port, ";\n"
     "    client_max_body_size 0;\n"
     "    location / {\n"
     "      proxy_pass http://127.0.0.1:", Ecm, ";\n"
     "      proxy_http_version 1.1;\n"
     "      proxy_buffering off;\n"
     "      proxy_request_buffering off;\n"
     "      proxy_set_header Host $host;\n"
     "      proxy_set_header Upgrade $http_upgrade;\n"
     "      proxy_set_header Connection $connection_upgrade;\n"
     "      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n"
     "    }\n"
     "  }\n"
     "}\n"];
config(nginx_proxy, Dir, [Port, Ecm]) ->
    [nginx_top(Dir, "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"),
     "stream {\n"
     "  server {\n"
     "    listen 127.0.0.1:", Port, ";\n"
     "    proxy_pass 127.0.0.1:", Ecm, ";\n"
     "    proxy_protocol on;\n"
     "  }\n"
     "}\n"];
config(haproxy, _Dir, [Port, Ecm]) ->
    haproxy("http", Port, ["  option forwardfor\n"
                           "  server ecm 127.0.0.1:", Ecm, "\n"]);
config(haproxy_proxy, _Dir, [Port, Ecm]) ->
    haproxy("tcp", Port, ["  server ecm 127.0.0.1:", Ecm, " send-proxy\n"]);
config(haproxy_proxy_v2, _Dir, [Port, Ecm]) ->
    haproxy("tcp", Port, ["  server ecm 127.0.0.1:", Ecm, " send-proxy-v2\n"]).

round_robin(nginx, Dir, [Port | Ecms]) ->
    [nginx_top(Dir, ""),
     "http {\n"
     "  access_log off;\n",
     [["  ", Name, "_temp_path ", Dir, "/", Name, ";\n"]
      || Name <- ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]],
     "  upstream ecms {\n",
     [["    server 127.0.0.1:", Ecm, " max_fails=1 fail_timeout=1s;\n"] || Ecm <- Ecms],
     "  }\n"
     "  server {\n"
     "    listen 127.0.0.1:", Port, ";\n"
     "    location / {\n"
     "      proxy_pass http://ecms;\n"
     "      proxy_http_version 1.1;\n"
     "      proxy_set_header Connection '';\n"
     "      proxy_buffering off;\n"
     "    }\n"
     "  }\n"
     "}\n"];
round_robin(haproxy, _Dir, [Port | Ecms]) ->
    haproxy("http", Port, ["  balance roundrobin\n"
                           "  option redispatch\n"
                           "  retries 3\n",
                           [["  server ecm", Ecm, " 127.0.0.1:", Ecm, " check inter 200ms\n"] || Ecm <- Ecms]]).

nginx_top(Dir, Modules) ->
    [Modules,
     "daemon off;\n"
     "master_process off;\n"
     "pid ", Dir, "/nginx.pid;\n"
     "events {}\n"].

haproxy(Mode, Port, Server) ->
    ["global\n"
     "  maxconn 1000\n"
     "defaults\n"
     "  mode ", Mode, "\n"
     "  timeout connect 5s\n"
     "  timeout client 60s\n"
     "  timeout server 60s\n"
     "  timeout tunnel 60s\n"
     "listen clients\n"
     "  bind 127.0.0.1:", Port, "\n",
     Server].

takes_connections(Port) ->
    case gen_tcp:connect({127, 0, 0, 1}, Port, []) of
        {ok, Socket} -> gen_tcp:close(Socket), true;
        {error, _} -> false
    end.
