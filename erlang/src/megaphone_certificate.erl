%%% @doc A client's certificate, which the ECM has verified, for SASL EXTERNAL (XEP-0178).
%%%
%%% xmpp_stream_pkix decides whose login a certificate is. It asks the socket module for the certificate, and
%%% fast_tls, of the socket, whether it was verified. So until the login a session's socket is in the place of the
%%% TCP socket in one of fast_tls's: an SSL object that never did a handshake, of which OpenSSL says that there is
%%% nothing wrong with its peer's certificate. The same in ejabberd 23.01, 24.12 and 26.07.
-module(megaphone_certificate).

-export([attach/3, decode/2, without_plus/1]).

-include_lib("public_key/include/public_key.hrl").

-export_type([attached/1, decoded/0]).

%% fast_tls's record.
-type attached(Socket) :: {tlssock, {Socket, Certificate :: binary()}, Tls :: term()}.
-type decoded() :: binary() | #'Certificate'{} | #'OTPCertificate'{}.

%% @doc A session's socket with a certificate; `error' if fast_tls can't say that it was verified. The connection is
%% what fast_tls takes for its socket meanwhile.
-spec attach(Socket, megaphone:socket(), Certificate :: binary()) -> {ok, attached(Socket)} | error.
attach(Socket, Connection, Certificate) ->
    case fast_tls:tcp_to_tls(Connection, [connect, verify_none]) of
        {ok, Tls} ->
            case fast_tls:get_verify_result(Tls) of
                0 -> {ok, setelement(2, Tls, {Socket, Certificate})};
                _ -> error
            end;
        {error, _} ->
            error
    end.

%% @doc What a socket module answers for get_peer_certificate.
-spec decode(Certificate :: binary(), plain | otp | der) -> {ok, decoded()} | error.
decode(Certificate, der) ->
    {ok, Certificate};
decode(Certificate, Form) ->
    try
        {ok, public_key:pkix_decode_cert(Certificate, Form)}
    catch
        error:_ -> error
    end.

%% @doc `<stream:features/>' without the mechanisms that would bind the login to TLS.
-spec without_plus(fxml:xmlel()) -> fxml:xmlel().
without_plus({xmlel, Name, Attributes, Children}) ->
    {xmlel, Name, Attributes, [mechanisms_without_plus(Child) || Child <- Children]}.

mechanisms_without_plus({xmlel, <<"mechanisms">>, Attributes, Mechanisms}) ->
    {xmlel, <<"mechanisms">>, Attributes, [Mechanism || Mechanism <- Mechanisms, not is_plus(Mechanism)]};
mechanisms_without_plus(Other) ->
    Other.

is_plus({xmlel, <<"mechanism">>, _, [{xmlcdata, Name}]}) ->
    binary:longest_common_suffix([Name, <<"-PLUS">>]) =:= 5;
is_plus(_) ->
    false.
