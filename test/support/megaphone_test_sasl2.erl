%% @doc Logins by SASL2 (XEP-0388), on megaphone_test_xmpp's clients: what is to be done with the login (XEP-0386,
%% XEP-0198, XEP-0484) goes along with it as XML.
-module(megaphone_test_sasl2).

-export([is_offered_by/0, open/4, authentication/1, send/3, authenticate/3, authenticated/2, login/5, user_agent/1,
         bind/2]).

-define(NS, <<"urn:xmpp:sasl:2">>).
-define(HOST, <<"localhost">>).

%% `token' is one of XEP-0484, for HT-SHA-256-NONE.
-type credentials() :: {plain | scram | token, Secret :: binary()}.
-type element() :: megaphone_test_xml:element().

%% @doc Whether this ejabberd has SASL2: from 24.02 on.
-spec is_offered_by() -> boolean().
is_offered_by() ->
    lists:keymember(allow_unencrypted_sasl2, 1, ejabberd_c2s:listen_options()).

%% @doc Opens a stream whose header says who comes, which ejabberd wants to know before it offers SASL2; the
%% stream's features.
-spec open(megaphone_test_xmpp:transport(), megaphone_test_http:target(), User :: binary(), map()) ->
          {Features :: element(), megaphone_test_xmpp:client()}.
open(Transport, Target, User, Options) ->
    Jid = <<User/binary, "@", ?HOST/binary>>,
    case Transport:open(Target, ?HOST, Options#{from => Jid}) of
        {ok, State} -> megaphone_test_xmpp:recv(#{transport => Transport, state => State, jid => Jid});
        {error, Reason} -> ct:fail("~ts expected to open a stream, got ~p", [Jid, Reason])
    end.

%% @doc What is offered for SASL2: the mechanisms, what may go along with a login, and what with a resource.
-spec authentication(Features :: element()) ->
          #{mechanisms := [binary()], inline := [binary()], bind := [binary()], fast := [binary()],
            upgrades := [binary()]} | none.
authentication(Features) ->
    case [Child || Child <- megaphone_test_xml:children(Features), megaphone_test_xml:namespace(Child) =:= ?NS] of
        [] ->
            none;
        [Authentication] ->
            Inline = children(megaphone_test_xml:child(<<"inline">>, Authentication)),
            #{mechanisms => texts(<<"mechanism">>, megaphone_test_xml:children(Authentication)),
              inline => [megaphone_test_xml:namespace(Child) || Child <- Inline],
              bind => [megaphone_test_xml:attribute(<<"var">>, Feature)
                       || Bind <- Inline, megaphone_test_xml:name(Bind) =:= <<"bind">>,
                          Feature <- children(megaphone_test_xml:child(<<"inline">>, Bind))],
              fast => lists:append([texts(<<"mechanism">>, children(Fast))
                                    || Fast <- Inline, megaphone_test_xml:name(Fast) =:= <<"fast">>]),
              upgrades => texts(<<"upgrade">>, megaphone_test_xml:children(Authentication))}
    end.

%% @doc Sends an element of SASL2.
-spec send(megaphone_test_xmpp:client(), Name :: string(), {Attributes :: iodata(), Content :: iodata()}) ->
          megaphone_test_xmpp:client().
send(Client, Name, {Attributes, Content}) ->
    megaphone_test_xmpp:send(Client, ["<", Name, " xmlns='", ?NS, "'", Attributes, ">", Content, "</", Name, ">"]).

%% @doc Tries to log in: the answer is `<success/>', with the signature checked where there has to be one,
%% `<failure/>' or `<continue/>'.
-spec authenticate(megaphone_test_xmpp:client(), credentials(), Inline :: iodata()) ->
          {element(), megaphone_test_xmpp:client()}.
authenticate(#{jid := Jid} = Client, {plain, Password}, Inline) ->
    start(Client, "PLAIN", <<0, (user(Jid))/binary, 0, Password/binary>>, Inline);
authenticate(#{jid := Jid} = Client, {token, Token}, Inline) ->
    Hmac = fun(Text) -> crypto:mac(hmac, sha256, Token, Text) end,
    Initial = <<(user(Jid))/binary, 0, (Hmac("Initiator"))/binary>>,
    checked(Hmac("Responder"), start(Client, "HT-SHA-256-NONE", Initial, Inline));
authenticate(#{jid := Jid} = Client, {scram, Password}, Inline) ->
    Bare = megaphone_test_scram:first(user(Jid)),
    case start(Client, "SCRAM-SHA-1", <<"n,,", Bare/binary>>, Inline) of
        {{xmlel, <<"challenge">>, _, _} = Challenge, Challenged} ->
            First = base64:decode(megaphone_test_xml:text(Challenge)),
            {Final, Signature} = megaphone_test_scram:final(<<"n,,">>, Bare, First, Password),
            checked(<<"v=", Signature/binary>>,
                    megaphone_test_xmpp:recv(send(Challenged, "response", {"", base64:encode(Final)})));
        Answer ->
            Answer
    end.

start(Client, Mechanism, Initial, Inline) ->
    megaphone_test_xmpp:recv(send(Client, "authenticate",
                                  {[" mechanism='", Mechanism, "'"],
                                   ["<initial-response>", base64:encode(Initial), "</initial-response>", Inline]})).

checked(Proof, {{xmlel, <<"success">>, _, _} = Success, _} = Answer) ->
    Data = megaphone_test_xml:text(megaphone_test_xml:child(<<"additional-data">>, Success)),
    case base64:decode(Data) of
        Proof -> Answer;
        Other -> ct:fail("expected the proof ~p, got ~p", [Proof, Other])
    end;
checked(_Proof, Answer) ->
    Answer.

%% @doc The client once it has got this success, by the name that it has from now on.
-spec authenticated(element(), megaphone_test_xmpp:client()) -> megaphone_test_xmpp:client().
authenticated({xmlel, <<"success">>, _, _} = Success, Client) ->
    Jid = megaphone_test_xml:text(megaphone_test_xml:child(<<"authorization-identifier">>, Success)),
    Client#{jid := Jid};
authenticated(Other, #{jid := Jid}) ->
    ct:fail("~ts expected <success/> of SASL2, got ~p", [Jid, Other]).

%% @doc A client that has logged in and got its resource at once (XEP-0386), and has sent presence.
-spec login(megaphone_test_xmpp:transport(), megaphone_test_http:target(), User :: binary(), map(),
            credentials()) -> megaphone_test_xmpp:client().
login(Transport, Target, User, Options, Credentials) ->
    {_, Opened} = open(Transport, Target, User, Options),
    {Success, Answered} = authenticate(Opened, Credentials, bind("test", "")),
    megaphone_test_xmpp:send_presence(authenticated(Success, Answered)).

%% @doc The software that a client is, by an id of its own.
-spec user_agent(Id :: iodata()) -> iodata().
user_agent(Id) ->
    ["<user-agent id='", Id, "'><software>a test</software><device>none</device></user-agent>"].

%% @doc A request for a resource (XEP-0386), and what goes along with it.
-spec bind(Tag :: iodata(), Inline :: iodata()) -> iodata().
bind(Tag, Inline) ->
    ["<bind xmlns='urn:xmpp:bind:0'><tag>", Tag, "</tag>", Inline, "</bind>"].

children(undefined) -> [];
children(Element) -> megaphone_test_xml:children(Element).

texts(Name, Elements) ->
    [megaphone_test_xml:text(Element) || Element <- Elements, megaphone_test_xml:name(Element) =:= Name].

user(Jid) ->
    [User, _] = binary:split(Jid, <<"@">>),
    User.
