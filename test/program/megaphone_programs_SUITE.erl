%% Programs that people chat with, as they are installed: each logs in through the ECM, sees a friend come
%% online and is seen, answers the friend's messages, and logs out.
-module(megaphone_programs_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([finch/1, finch_over_bosh/1, finch_behind_apache/1, profanity/1, gloox/1,
         converse_over_bosh/1, converse_over_websocket/1, jsjac/1,
         tsung_over_tcp/1, tsung_over_bosh/1, tsung_over_websocket/1]).

%% What programs ask of a server beside the stage's own modules.
-define(MODULES, "  mod_blocking: {}\n"
                 "  mod_caps: {}\n"
                 "  mod_carboncopy: {}\n"
                 "  mod_client_state: {}\n"
                 "  mod_last: {}\n"
                 "  mod_mam: {}\n"
                 "  mod_muc: {}\n"
                 "  mod_offline: {}\n"
                 "  mod_ping: {}\n"
                 "  mod_privacy: {}\n"
                 "  mod_private: {}\n"
                 "  mod_pubsub:\n"
                 "    plugins: [flat, pep]\n"
                 "  mod_vcard: {}\n"
                 "  mod_version: {}\n").

suite() ->
    [{timetrap, {seconds, 150}}].

all() ->
    [{group, terminals}, {group, browsers}, {group, load}].

groups() ->
    [{terminals, [parallel], [finch, finch_over_bosh, finch_behind_apache, profanity, gloox]},
     {browsers, [parallel], [converse_over_bosh, converse_over_websocket, jsjac]},
     {load, [parallel], [tsung_over_tcp, tsung_over_bosh, tsung_over_websocket]}].

init_per_suite(Config) ->
    Started = megaphone_test_entrances:start(Config, #{modules => ?MODULES}),
    ok = serve_pages(Started),
    Started.

end_per_suite(Config) ->
    megaphone_test_stage:stop(Config).

%% No package of Debian or npm has JSJaC.
init_per_testcase(jsjac, Config) ->
    case jsjac_folder() of
        false -> {skip, "JSJaC isn't here; the environment variable JSJAC says where its folder src is"};
        _ -> megaphone_test_clients:need([{"chromium", "chromium"}], Config)
    end;
init_per_testcase(Case, Config) ->
    megaphone_test_clients:need(needed(Case), Config).

end_per_testcase(_Case, _Config) ->
    ok.

needed(profanity) -> [{"profanity", "profanity"}];
needed(Converse) when Converse =:= converse_over_bosh; Converse =:= converse_over_websocket ->
    [{"chromium", "chromium"}];
needed(Tsung) when Tsung =:= tsung_over_tcp; Tsung =:= tsung_over_bosh; Tsung =:= tsung_over_websocket ->
    [{"tsung", "tsung"}];
needed(gloox) -> [{"c++", "g++"}, {"/usr/include/gloox/gloox.h", "libgloox-dev"}];
needed(_Finch) -> [{"finch", "finch"}, {"dbus-run-session", "dbus-daemon"},
                   {"/usr/lib/python3/dist-packages/dbus", "python3-dbus"},
                   {"/usr/lib/python3/dist-packages/gi", "python3-gi"}].

%% Confirms that libpurple, by which Pidgin and Finch speak XMPP, chats over TCP with STARTTLS.
finch(Config) ->
    finch(Config, port(Config, xmpp), megaphone_test_entrances:certificate_file(Config), []).

%% Confirms the same over BOSH.
finch_over_bosh(Config) ->
    finch(Config, 0, "-", [bosh_url(port(Config, http))]).

%% Confirms the same with Apache between it and the ECM. (node-xmpp-bosh can't stand there: libpurple writes `to' into
%% each body, by which that one begins a new stream.)
finch_behind_apache(Config) ->
    Port = megaphone_test_port:free(),
    Dir = filename:join(proplists:get_value(priv_dir, Config), "apache"),
    Front = megaphone_test_front:start(apache, Dir, Port, port(Config, http)),
    try finch(Config, 0, "-", [bosh_url(Port)])
    after megaphone_test_front:stop(Front)
    end.

finch(Config, Port, Certificate, More) ->
    Friend = megaphone_test_friend:new(Config, <<"finch">>),
    answers(Friend, Config, os:find_executable("dbus-run-session"),
            ["--", "/usr/bin/python3", "finch.py", megaphone_test_friend:user(Friend), "megaphone",
             megaphone_test_friend:jid(Friend), integer_to_list(Port), Certificate | More]).

%% Confirms that profanity, which speaks XMPP by libstrophe, chats over TCP with STARTTLS.
profanity(Config) ->
    Friend = megaphone_test_friend:new(Config, <<"profanity">>),
    answers(Friend, Config, os:find_executable("python3"),
            ["profanity.py", megaphone_test_friend:user(Friend), "megaphone", megaphone_test_friend:jid(Friend),
             integer_to_list(port(Config, xmpp)), megaphone_test_entrances:certificate_file(Config)]).

%% Confirms that gloox chats over TCP with STARTTLS.
gloox(Config) ->
    Program = filename:join(proplists:get_value(priv_dir, Config), "gloox"),
    <<>> = megaphone_test_clients:run(os:find_executable("c++"),
                                      ["-std=c++11", "-Wall", "-o", Program, "gloox.cpp", "-lgloox"], [], Config),
    Friend = megaphone_test_friend:new(Config, <<"gloox">>),
    answers(Friend, Config, Program,
            [megaphone_test_friend:user(Friend), "megaphone", megaphone_test_friend:jid(Friend),
             integer_to_list(port(Config, xmpp)), megaphone_test_entrances:ca_file(Config)]).

%% Confirms that Converse.js chats over BOSH, and that its session survives that the page is loaded anew.
converse_over_bosh(Config) ->
    converse(Config, "bosh", bosh_url(port(Config, http)), fun(Talked) -> survives_reload(Talked, Config) end).

%% Confirms that it chats over WebSocket.
converse_over_websocket(Config) ->
    converse(Config, "websocket", "ws://localhost:" ++ integer_to_list(port(Config, http)) ++ "/ws",
             fun(Talked) -> Talked end).

converse(Config, Transport, Url, More) ->
    Friend = megaphone_test_friend:new(Config, <<"converse">>),
    answers(Friend, Config, node, ["converse.js", page(Config, "converse.html"), Transport, Url,
                                   megaphone_test_friend:user(Friend), "megaphone", megaphone_test_friend:jid(Friend)],
            More).

%% Confirms the same for JSJaC, which suspends its session before the page is loaded anew.
jsjac(Config) ->
    Friend = megaphone_test_friend:new(Config, <<"jsjac">>),
    answers(Friend, Config, node, ["jsjac.js", page(Config, "jsjac.html"), bosh_url(port(Config, http)),
                                   megaphone_test_friend:user(Friend), "megaphone", megaphone_test_friend:jid(Friend)],
            fun(Talked) -> survives_reload(Talked, Config) end).

jsjac_folder() ->
    os:getenv("JSJAC").

%% Confirms that the session is the same afterwards, for ejabberd too.
survives_reload(Friend, Config) ->
    Before = session(Config, Friend),
    Reloaded = megaphone_test_friend:talk([<<"reload">>], Friend),
    ?assertEqual(Before, session(Config, Reloaded)),
    megaphone_test_friend:talk(Reloaded).

%% What ejabberd knows the client's session by.
session(Config, Friend) ->
    [User, _, Resource] = string:lexemes(megaphone_test_friend:resource(Friend), "@/"),
    {_, _} = megaphone_test_ejabberd:call(megaphone_test_stage:ejabberd(Config), ejabberd_sm, get_session_sid,
                                          [User, <<"localhost">>, Resource]).

%% Confirms that all users of Tsung log in over TCP, get an answer to each message, and log out, without one error.
tsung_over_tcp(Config) ->
    ?assertMatch(#{"match" := 100}, tsung(Config, "tcp", port(Config, xmpp_off))).

tsung_over_bosh(Config) ->
    ?assertMatch(#{"match" := 100}, tsung(Config, "bosh", port(Config, http))).

tsung_over_websocket(Config) ->
    #{} = tsung(Config, "websocket", port(Config, http)).

tsung(Config, Type, Port) ->
    Friend = megaphone_test_xmpp:login(megaphone_test_websocket, megaphone_test_stage:target(Config),
                                       megaphone_test_stage:user(Config, <<"friend">>)),
    Users = [megaphone_test_stage:user(Config, <<"tsung">>) || _ <- lists:seq(1, 20)],
    Messages = 5,
    Run = megaphone_test_tsung:start(filename:join(proplists:get_value(priv_dir, Config), "tsung_" ++ Type),
                                     #{type => Type, port => Port, users => Users,
                                       friend => megaphone_test_xmpp:jid(Friend), messages => Messages}),
    {Heard, Answered} = megaphone_test_friend:answer(Friend, length(Users) * Messages),
    Statistics = megaphone_test_tsung:stop(Run),
    ?assertEqual(lists:sort([iolist_to_binary(io_lib:format("number ~b of ~s", [Number, User]))
                             || Number <- lists:seq(1, Messages), User <- Users]),
                 lists:sort(Heard)),
    ?assertMatch(#{"users_count" := 20, "finish_users_count" := 20}, Statistics),
    ?assertEqual([], [Name || Name <- maps:keys(Statistics), Name =:= "nomatch" orelse lists:prefix("error", Name)]),
    ok = megaphone_test_xmpp:logout(Answered),
    Statistics.

%% What the browser's clients are made of, as files of ejabberd.
serve_pages(Config) ->
    Files = filename:join(megaphone_test_ejabberd:dir(megaphone_test_stage:ejabberd(Config)), "files"),
    Jsjac = [{"jsjac", Folder} || Folder <- [jsjac_folder()], Folder =/= false],
    [ok = file:make_symlink(filename:join(megaphone_test_clients:folder(), Path), filename:join(Files, Name))
     || {Name, Path} <- [{"converse.html", "converse.html"}, {"converse", "node_modules/converse.js/dist"},
                         {"jsjac.html", "jsjac.html"} | Jsjac]],
    ok.

page(Config, Name) ->
    ["http://localhost:", integer_to_list(port(Config, http)), "/files/", Name].

%% Confirms that the program answers the friend.
answers(Friend, Config, Program, Arguments) ->
    answers(Friend, Config, Program, Arguments, fun(Talked) -> Talked end).

%% The function does more with it before it logs out.
answers(Friend, Config, Program, Arguments, More) ->
    megaphone_test_clients:with(
      Program, Arguments, Config,
      fun() ->
              Talked = megaphone_test_friend:talk(megaphone_test_friend:meet(Friend)),
              megaphone_test_friend:part(More(Talked))
      end).

bosh_url(Port) ->
    "http://localhost:" ++ integer_to_list(Port) ++ "/bosh".

port(Config, Kind) ->
    {_, Port} = megaphone_test_entrances:address(Config, Kind),
    Port.
