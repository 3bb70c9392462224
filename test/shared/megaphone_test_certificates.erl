%% @doc Certificates for tests, made by OTP's public_key: a CA, what it signs, and what is wrong with
%% others.
-module(megaphone_test_certificates).

-export([ca/1, sign/2, sign/3, write/3, write_self_signed/2]).

-include_lib("public_key/include/public_key.hrl").

-type authority() :: #{cert := binary(), key := public_key:private_key()}.
-type signed() :: #{cert := binary(), key := public_key:private_key(), cas := [binary()]}.

%% @doc A new authority.
-spec ca(Name :: string()) -> authority().
ca(Name) ->
    Key = public_key:generate_key(key()),
    public_key:pkix_test_root_cert(Name, [{key, Key}, {digest, sha256},
                                          {extensions, [extension(?'id-ce-subjectKeyIdentifier', identifier(Key))]}]).

%% @doc A certificate for `localhost' that is good now, and its key.
-spec sign(authority(), Name :: string()) -> signed().
sign(Ca, Name) ->
    sign(Ca, Name, []).

%% @doc With other options of public_key:pkix_test_data/1, such as `{validity, {From, To}}'.
-spec sign(authority(), Name :: string(), [term()]) -> signed().
sign(#{key := CaKey} = Ca, Name, Options) ->
    Extensions = [extension(?'id-ce-subjectAltName', [{dNSName, Name}]),
                  extension(?'id-ce-authorityKeyIdentifier',
                            #'AuthorityKeyIdentifier'{keyIdentifier = identifier(CaKey)})],
    [{cert, Cert}, {key, {Type, Key}}, {cacerts, Cas}] =
        lists:sort(fun order/2, public_key:pkix_test_data(
                                  #{root => Ca, intermediates => [],
                                    peer => [{key, key()}, {digest, sha256},
                                             {extensions, Extensions} | Options]})),
    #{cert => Cert, key => public_key:der_decode(Type, Key), cas => Cas}.

%% @doc Writes a certificate with its key, and the one of its authority, as PEM.
-spec write(file:name(), file:name() | none, signed()) -> ok.
write(CertFile, CaFile, #{cert := Cert, key := Key, cas := Cas}) ->
    KeyEntry = public_key:pem_entry_encode(element(1, Key), Key),
    ok = write_pem(CertFile, [{'Certificate', Cert, not_encrypted}, KeyEntry]),
    case CaFile of
        none -> ok;
        _ -> write_pem(CaFile, [{'Certificate', Ca, not_encrypted} || Ca <- Cas])
    end.

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
    crypto:hash(sha, PublicKey).

order({A, _}, {B, _}) ->
    Place = fun(cert) -> 1; (key) -> 2; (cacerts) -> 3 end,
    Place(A) =< Place(B).
