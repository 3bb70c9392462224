%%% @doc How large what a client sends may be: less before it has logged in, since a term takes many times
%%% the bytes that it is made of.
%%%
%%% The options are those of ejabberd_c2s, by the names that ejabberd has for them since 26.04. Before that
%%% version a session has them too, and an XML stream of ejabberd_c2s has `max_stanza_size' alone.
-module(megaphone_stanza_limits).

-export([names/0, opt_type/1, session/1, xml_stream/1]).

-export_type([limits/0, limit/0]).

-type limits() :: #{before_login := limit(), logged_in := limit()}.
-type limit() :: {Bytes :: pos_integer(), Elements :: pos_integer()}.

%% The longest document, whatever the listener allows: a recv gives no more.
-define(MOST_BYTES, 67108864).
%% More than a document of that length can have.
-define(ANY_ELEMENTS, ?MOST_BYTES).
%% Where neither the listener nor ejabberd says something else. No client writes a stanza of so many
%% elements, nor a login.
-define(ELEMENTS, 65536).
-define(BYTES_BEFORE_LOGIN, 65536).
-define(ELEMENTS_BEFORE_LOGIN, 128).
%% `max_stanza_size' of ejabberd_c2s in the configuration that comes with ejabberd.
-define(XML_STREAM_BYTES, 262144).

%% @doc The options.
-spec names() -> [atom()].
names() ->
    [max_stanza_size, max_stanza_elements, pre_auth_max_stanza_size, pre_auth_max_stanza_elements].

%% @doc Their validator.
-spec opt_type(atom()) -> econf:validator().
opt_type(Name) ->
    true = lists:member(Name, names()),
    econf:pos_int(infinity).

%% @doc The limits of a session, of the listener's options for c2s.
-spec session([{atom(), term()}]) -> limits().
session(Opts) ->
    Own = fun(Name, Default) -> proplists:get_value(Name, Opts, Default) end,
    BeforeLogin = fun(Name, Default) -> Own(Name, ejabberds(Name, Default)) end,
    %% An atom is above all numbers.
    Bytes = min(Own(max_stanza_size, infinity), ?MOST_BYTES),
    Elements = min(Own(max_stanza_elements, ?ELEMENTS), ?ANY_ELEMENTS),
    #{before_login =>
          {min(BeforeLogin(pre_auth_max_stanza_size, ?BYTES_BEFORE_LOGIN), Bytes),
           min(BeforeLogin(pre_auth_max_stanza_elements, ?ELEMENTS_BEFORE_LOGIN), Elements)},
      logged_in => {Bytes, Elements}}.

%% @doc The options of ejabberd_c2s for an XML stream: where it has no limits before the login, it needs one
%% for the whole stream.
-spec xml_stream([{atom(), term()}]) -> [{atom(), term()}].
xml_stream(Opts) ->
    case lists:keymember(max_stanza_size, 1, Opts) orelse ejabberds(pre_auth_max_stanza_size, none) =/= none of
        true -> Opts;
        false -> [{max_stanza_size, ?XML_STREAM_BYTES} | Opts]
    end.

ejabberds(Name, Default) ->
    proplists:get_value(Name, megaphone_ejabberd:c2s_options(), Default).
