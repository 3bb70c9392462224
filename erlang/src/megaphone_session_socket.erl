%%% @doc What ejabberd_c2s has of a session's connection: the socket module that xmpp_socket calls,
%%% always in the session's own process.
%%%
%%% Input does not pass here, {@link megaphone_session} reads it. A document that has to wait for the
%%% client blocks the session, as gen_tcp's send blocks a c2s process: whatever comes meanwhile stays
%%% in the mailbox, where max_queue counts it, and after `send_timeout' the connection is broken.
-module(megaphone_session_socket).

-behaviour(xmpp_socket).

-export([new/2, open/2, pause/1, redirect/2, has_waited/0]).
%% xmpp_socket's callbacks
-export([send_xml/2, get_owner/1, get_transport/1, change_shaper/2, controlling_process/2, close/1,
         sockname/1, peername/1, setopts/2, reset_stream/1, get_peer_certificate/2, get_tls_last_message/2]).

-export_type([socket/0]).

-include("megaphone_messages.hrl").

-type transport() :: tcp | tls | websocket | http_bind.
-type endpoint() :: {inet:ip_address(), inet:port_number()}.
%% The first is `self' once the session reads.
-type bare() :: {self | pid(), transport(), megaphone:socket()}.
%% Until the login a client may have a certificate.
-opaque socket() :: bare() | megaphone_certificate:attached(bare()).

%% Where the shaper is: most sessions have none, and no room for it.
-define(SHAPER, {?MODULE, shaper}).
%% What the login can be bound to, until then.
-define(UNIQUE, {?MODULE, unique}).
%% The client's certificate, until the session reads.
-define(CERTIFICATE, {?MODULE, certificate}).
%% That a document had to wait for the client.
-define(WAITED, {?MODULE, waited}).

%% @doc The socket of a session that has just started.
-spec new(Trunk :: pid(), megaphone:socket()) -> socket().
new(Trunk, Socket) ->
    {Trunk, transport(megaphone:transport(Socket)), Socket}.

transport({tcp, plain}) -> tcp;
transport({tcp, tls}) -> tls;
transport({websocket, _}) -> websocket;
transport({bosh, _}) -> http_bind.

%% @doc The state of a session whose process owns its connection now. What its header says of the client's TLS is told
%% once: `tls-unique' is kept until the stream begins again after the login, and a certificate until the session reads.
-spec open(megaphone_ejabberd_c2s:state(), megaphone:socket()) -> megaphone_ejabberd_c2s:state().
open(Accepted, Socket) ->
    Bindings = megaphone:take_channel_bindings(Socket),
    Certificate = megaphone:take_certificate(Socket),
    _ = Certificate =/= none andalso megaphone_ejabberd_c2s:takes_certificates(Accepted)
        andalso put(?CERTIFICATE, Certificate),
    Security = case megaphone:transport(Socket) of
                   {_, tls} -> {tls, Bindings};
                   {_, plain} -> plain
               end,
    Open = megaphone_ejabberd_c2s:open(Accepted, Security),
    ok = bind(Bindings),
    Open.

bind(#{<<"tls-unique">> := Unique}) ->
    _ = put(?UNIQUE, Unique),
    ok;
bind(_Bindings) ->
    ok.

%% @doc How long the session's shaper wants no more input after `Size' bytes (milliseconds).
-spec pause(non_neg_integer()) -> non_neg_integer().
pause(Size) ->
    case get(?SHAPER) of
        undefined ->
            0;
        Shaper ->
            {Updated, Pause} = p1_shaper:update(Shaper, Size),
            _ = put(?SHAPER, Updated),
            Pause
    end.

%% @doc Ends the stream with a `<close/>' that names another URI (RFC 7395, 3.6.1).
-spec redirect(megaphone:socket(), Uri :: binary()) -> ok.
redirect(Socket, Uri) ->
    _ = send_document(Socket, megaphone_framing:encode({redirect, Uri})),
    megaphone:close(Socket).

%% @doc Sends a document, unless the client is gone. One that takes nothing for too long is: it may have a
%% part of the document, which is no document, and nothing that followed would be understood.
-spec send_xml(socket(), megaphone_framing:element()) -> ok | {error, atom()}.
send_xml({tlssock, {Bare, _}, _}, Element) ->
    send_xml(Bare, offered(Element));
send_xml({_, _, Socket}, Element) ->
    case megaphone_undelivered:is_client_gone() of
        true ->
            megaphone_undelivered:unsent(Element);
        false ->
            case send_document(Socket, megaphone_framing:encode(Element)) of
                {ok, false} ->
                    ok;
                {ok, true} ->
                    _ = put(?WAITED, true),
                    ok;
                {error, timeout} ->
                    self() ! ?STUCK,
                    megaphone_undelivered:unsent(Element);
                {error, _} = Error ->
                    Error
            end
    end.

%% A client with a certificate is encrypted to ejabberd_c2s, also if its login can't be bound.
offered({xmlstreamelement, {xmlel, <<"stream:features">>, _, _} = Features} = Element) ->
    case megaphone_ejabberd_c2s:knows_bindings() orelse get(?UNIQUE) =/= undefined of
        true -> Element;
        false -> {xmlstreamelement, megaphone_certificate:without_plus(Features)}
    end;
offered(Element) ->
    Element.

send_document(Socket, Document) ->
    megaphone:send_waiting(Socket, [<<(byte_size(Document)):32>>, Document]).

%% @doc Whether a document had to wait for the client since this was asked last.
-spec has_waited() -> boolean().
has_waited() ->
    erase(?WAITED) =/= undefined.

%% @doc The process that is shown in logs. xmpp_socket makes a parser, and reads, where this is the
%% caller: not yet as the session starts.
-spec get_owner(socket()) -> pid().
get_owner({tlssock, {Bare, _}, _}) -> get_owner(Bare);
get_owner({self, _, _}) -> self();
get_owner({Trunk, _, _}) -> Trunk.

%% @doc How the client is connected: what connected_users_info shows.
-spec get_transport(socket()) -> transport().
get_transport({tlssock, {Bare, _}, _}) -> get_transport(Bare);
get_transport({_, Transport, _}) -> Transport.

%% @doc Keeps the shaper for {@link pause/1}.
-spec change_shaper(socket(), none | p1_shaper:state()) -> ok.
change_shaper(_Socket, none) ->
    _ = erase(?SHAPER),
    ok;
change_shaper(_Socket, Shaper) ->
    _ = put(?SHAPER, Shaper),
    ok.

%% @doc A session owns its connection from the start.
-spec controlling_process(socket(), pid()) -> ok.
controlling_process(_Socket, _Pid) ->
    ok.

%% @doc Closes the connection behind what was sent.
-spec close(socket()) -> ok.
close({tlssock, {Bare, _}, _}) -> close(Bare);
close({_, _, Socket}) -> megaphone:close(Socket).

%% @doc The address the client connected to.
-spec sockname(socket()) -> {ok, endpoint()} | {error, einval}.
sockname({tlssock, {Bare, _}, _}) -> sockname(Bare);
sockname({_, _, Socket}) -> endpoint(megaphone:sockname(Socket)).

%% @doc The client's address.
-spec peername(socket()) -> {ok, endpoint()} | {error, einval}.
peername({tlssock, {Bare, _}, _}) -> peername(Bare);
peername({_, _, Socket}) -> endpoint(megaphone:peername(Socket)).

%% Who comes by a Unix socket, and speaks for nobody else, is on this machine.
endpoint({ok, {local, _Path}}) -> {ok, {{127, 0, 0, 1}, 0}};
endpoint({ok, undefined}) -> {error, einval};
endpoint({ok, {_, _}} = Endpoint) -> Endpoint;
endpoint({error, einval} = Error) -> Error.

%% @doc xmpp_socket asks for input by this; the session reads anyway.
-spec setopts(socket(), [term()]) -> ok.
setopts(_Socket, _Options) ->
    ok.

%% @doc A document is whole, so there is no parser to reset. The session reads from the first call on; after the
%% next one the client is logged in.
-spec reset_stream(socket()) -> socket().
reset_stream({tlssock, {Bare, _}, _}) ->
    reset_stream(Bare);
reset_stream({self, _, _} = Bare) ->
    _ = erase(?UNIQUE),
    Bare;
reset_stream({_Trunk, Transport, Socket}) ->
    Bare = {self, Transport, Socket},
    Certificate = erase(?CERTIFICATE),
    case Certificate =/= undefined andalso megaphone_certificate:attach(Bare, Socket, Certificate) of
        {ok, Attached} -> Attached;
        _ -> Bare
    end.

%% @doc The client's certificate. xmpp_stream_pkix asks for it.
-spec get_peer_certificate(socket(), plain | otp | der) -> {ok, megaphone_certificate:decoded()} | error.
get_peer_certificate({tlssock, {_, Certificate}, _}, Form) -> megaphone_certificate:decode(Certificate, Form);
get_peer_certificate(_, _Form) -> error.

%% @doc What the client's `Finished' says, which is `tls-unique'. xmpp_sasl_scram asks for it before 24.02, and takes
%% it for empty where it is not available: a client that has not been offered to bind to it could do that all the same.
-spec get_tls_last_message(peer | self, socket()) -> {ok, binary()} | {error, unavailable}.
get_tls_last_message(_Side, Socket) ->
    case {get(?UNIQUE), Socket} of
        {undefined, {tlssock, _, _}} -> {ok, crypto:strong_rand_bytes(12)};
        {undefined, _} -> {error, unavailable};
        {Unique, _} -> {ok, Unique}
    end.
