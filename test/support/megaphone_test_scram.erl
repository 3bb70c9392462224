%% @doc What a client says and checks in SCRAM-SHA-1 (RFC 5802).
-module(megaphone_test_scram).

-export([first/1, final/4]).

%% @doc The client's first message without its flag.
-spec first(User :: binary()) -> binary().
first(User) ->
    Nonce = base64:encode(crypto:strong_rand_bytes(12)),
    <<"n=", User/binary, ",r=", Nonce/binary>>.

%% @doc The client's last message, and the signature that the server has to answer with, in base64. `Flag' and
%% `Bare' make up the client's first message, `First' is the server's.
-spec final(Flag :: binary(), Bare :: binary(), First :: binary(), Password :: binary()) ->
          {Final :: binary(), Signature :: binary()}.
final(Flag, Bare, First, Password) ->
    [<<"r=", Nonce/binary>>, <<"s=", Salt/binary>>, <<"i=", Rounds/binary>> | _] =
        binary:split(First, <<",">>, [global]),
    Salted = crypto:pbkdf2_hmac(sha, Password, base64:decode(Salt), binary_to_integer(Rounds), 20),
    ClientKey = crypto:mac(hmac, sha, Salted, <<"Client Key">>),
    Final = <<"c=", (base64:encode(Flag))/binary, ",r=", Nonce/binary>>,
    All = <<Bare/binary, ",", First/binary, ",", Final/binary>>,
    Proof = crypto:exor(ClientKey, crypto:mac(hmac, sha, crypto:hash(sha, ClientKey), All)),
    Signature = crypto:mac(hmac, sha, crypto:mac(hmac, sha, Salted, <<"Server Key">>), All),
    {<<Final/binary, ",p=", (base64:encode(Proof))/binary>>, base64:encode(Signature)}.
