%% @doc Certificates for tests, made by OTP's public_key: a CA, what it signs, and what is wrong with
%% others.
-module(megaphone_test_certificates).

-export([ca/1, rsa_ca/1, sign/2, sign/3, sign_jids/2, write/3, write_signed/3, write_self_signed/2]).

-include_lib("public_key/include/public_key.hrl").

-type authority() :: #{cert := binary(), key := public_key:private_key()}.
-type signed() :: #{cert := binary(), key := public_key:private_key(), cas := [binary()]}.

%% @doc A new authority.
-spec ca(Name :: string()) -> authority().
ca(Name) ->
    ca(Name, public_key:generate_key(key())).

%% @doc One that signs by RSA. OTP 25 says a parameter of ECDSA signatures that has no place there, which rustls does
%% not take in what it verifies.
-spec rsa_ca(Name :: string()) -> authority().
rsa_ca(Name) ->
    ca(Name, public_key:generate_key({rsa, 2048, 65537})).

ca(Name, Key) ->
    #{cert := Cert} = Ca =
        public_key:pkix_test_root_cert(Name, [{key, Key}, {digest, sha256},
                                              {extensions, [extension(?'id-ce-subjectKeyIdentifier',
                                                                      identifier(Key))]}]),
    Ca#{cert := with_null(Cert, Key)}.

%% @doc A certificate for `localhost' that is good now, and its key.
-spec sign(authority(), Name :: string()) -> signed().
sign(Ca, Name) ->
    sign(Ca, Name, []).

%% @doc With other options of public_key:pkix_test_data/1, such as `{validity, {From, To}}'.
-spec sign(authority(), Name :: string(), [term()]) -> signed().
sign(Ca, Name, Options) ->
    sign_names(Ca, [{dNSName, Name}], Options).

%% @doc A client's certificate, for these JIDs (RFC 6120, 13.7.1.4).
-spec sign_jids(authority(), [binary()]) -> signed().
sign_jids(Ca, Jids) ->
    sign_names(Ca, [{otherName, xmpp_address(Jid)} || Jid <- Jids], []).

%% The record has another name from OTP 28 on. The value is a UTF8String.
xmpp_address(Jid) when byte_size(Jid) < 128 ->
    Record = case list_to_integer(erlang:system_info(otp_release)) >= 28 of
                 true -> 'INSTANCE OF';
                 false -> 'AnotherName'
             end,
    {Record, {1, 3, 6, 1, 5, 5, 7, 8, 5}, <<12, (byte_size(Jid)), Jid/binary>>}.

sign_names(#{key := CaKey} = Ca, Names, Options) ->
    Extensions = [extension(?'id-ce-subjectAltName', Names),
                  extension(?'id-ce-authorityKeyIdentifier',
                            #'AuthorityKeyIdentifier'{keyIdentifier = identifier(CaKey)})],
    [{cert, Cert}, {key, {Type, Key}}, {cacerts, Cas}] =
        lists:sort(fun order/2, public_key:pkix_test_data(
                                  #{root => Ca, intermediates => [],
                                    peer => [{key, key()}, {digest, sha256},
                                             {extensions, Extensions} | Options]})),
    #{cert => with_null(Cert, CaKey), key => public_key:der_decode(Type, Key), cas => Cas}.

%% Signs a certificate again with the parameter NULL, which belongs to an RSA key and an RSA signature (RFC 4055,
%% sections 1.2 and 5) and which OTP 29 leaves out: rustls does not take a certificate without it.
with_null(Cert, #'RSAPrivateKey'{} = CaKey) ->
    Signature = fun(Parameter) ->
                        sequence([<<6, 9, 16#2a, 16#86, 16#48, 16#86, 16#f7, 16#0d, 1, 1, 11>>, Parameter])
                end,
    Key = fun(Parameter) ->
                  sequence([sequence([<<6, 9, 16#2a, 16#86, 16#48, 16#86, 16#f7, 16#0d, 1, 1, 1>>, Parameter]),
                            tagged(3, [0, rsa_public_key(CaKey)])])
          end,
    Signed = lists:foldl(fun(Part, Bytes) -> binary:replace(Bytes, Part(<<>>), Part(<<5, 0>>)) end,
                         content(content(Cert)), [Signature, Key]),
    Tbs = sequence(Signed),
    sequence([Tbs, Signature(<<5, 0>>), tagged(3, [0, public_key:sign(Tbs, sha256, CaKey)])]);
with_null(Cert, _CaKey) ->
    Cert.

sequence(Content) ->
    tagged(16#30, Content).

tagged(Tag, Content) ->
    iolist_to_binary([Tag, der_length(iolist_size(Content)), Content]).

der_length(Length) when Length < 128 -> Length;
der_length(Length) when Length < 256 -> [16#81, Length];
der_length(Length) -> <<16#82, Length:16>>.

%% What the first element of DER is made of.
content(<<_Tag, 16#82, Length:16, Content:Length/binary, _/binary>>) -> Content;
content(<<_Tag, 16#81, Length, Content:Length/binary, _/binary>>) -> Content;
content(<<_Tag, Length, Content:Length/binary, _/binary>>) -> Content.

%% @doc Writes a certificate with its key, and the one of its authority, as PEM.
-spec write(file:name(), file:name() | none, signed()) -> ok.
write(CertFile, CaFile, #{cert := Cert, key := Key, cas := Cas}) ->
    KeyEntry = public_key:pem_entry_encode(element(1, Key), Key),
    ok = write_pem(CertFile, [{'Certificate', Cert, not_encrypted}, KeyEntry]),
    case CaFile of
        none -> ok;
        _ -> write_pem(CaFile, [{'Certificate', Ca, not_encrypted} || Ca <- Cas])
    end.

%% @doc Writes a certificate for `localhost' that the authority signs, and the authority's, into the suite's folder.
-spec write_signed(authority(), [{atom(), term()}], Name :: string()) -> {CertFile :: string(), CaFile :: string()}.
write_signed(Ca, Config, Name) ->
    File = filename:join(proplists:get_value(priv_dir, Config), Name),
    {CertFile, CaFile} = Files = {File ++ ".pem", File ++ "-ca.pem"},
    ok = write(CertFile, CaFile, sign(Ca, "localhost")),
    Files.

%% @doc Writes a certificate for a host name, such as ejabberd's for STARTTLS.
-spec write_self_signed(file:name(), Name :: string()) -> ok.
write_self_signed(File, Name) ->
    write(File, none, sign(ca("an authority of the tests"), Name)).

%% A rename, so that nobody reads half of it.
write_pem(File, Entries) ->
    ok = file:write_file([File, ".tmp"], public_key:pem_encode(Entries)),
    file:rename([File, ".tmp"], File).

key() ->
    {namedCurve, secp256r1}.

extension(Id, Value) ->
    #'Extension'{extnID = Id, critical = false, extnValue = Value}.

%% RFC 5280, section 4.2.1.2, the first way. Some clients want it, Python 3.13's among them.
identifier(#'ECPrivateKey'{publicKey = PublicKey}) ->
    crypto:hash(sha, PublicKey);
identifier(#'RSAPrivateKey'{} = Key) ->
    crypto:hash(sha, rsa_public_key(Key)).

rsa_public_key(#'RSAPrivateKey'{modulus = Modulus, publicExponent = Exponent}) ->
    public_key:der_encode('RSAPublicKey', #'RSAPublicKey'{modulus = Modulus, publicExponent = Exponent}).

order({A, _}, {B, _}) ->
    Place = fun(cert) -> 1; (key) -> 2; (cacerts) -> 3 end,
    Place(A) =< Place(B).
