%%% @doc The certificate of a trunk's peer, by a name that an admin knows it by.
-module(megaphone_peer_certificate).

-export([name/1, verify_fun/1, refused/0]).

-include_lib("public_key/include/public_key.hrl").

%% A longer one is cut (characters).
-define(LONGEST, 128).

%% @doc Its first DNS name, its common name if it has none, or else its serial number. Whoever made the certificate chose
%% what is in it, so what is not printable is shown as `?'.
-spec name(public_key:der_encoded() | #'OTPCertificate'{}) -> binary().
name(Der) when is_binary(Der) ->
    name(public_key:pkix_decode_cert(Der, otp));
name(#'OTPCertificate'{tbsCertificate = #'OTPTBSCertificate'{subject = Subject, extensions = Extensions,
                                                             serialNumber = Serial}}) ->
    case dns_names(Extensions) ++ common_names(Subject) of
        [Name | _] -> printable(Name);
        [] -> iolist_to_binary(["serial ", integer_to_list(Serial)])
    end.

dns_names(Extensions) when is_list(Extensions) ->
    [Name || #'Extension'{extnID = ?'id-ce-subjectAltName', extnValue = Names} <- Extensions, is_list(Names),
             {dNSName, Name} <- Names];
dns_names(asn1_NOVALUE) ->
    [].

%% The record of a part of a name has another name from OTP 28 on.
common_names({rdnSequence, Parts}) ->
    [case Value of
         {_Kind, Text} -> Text;
         Text -> Text
     end || Part <- Parts, {_, ?'id-at-commonName', Value} <- Part].

printable(Name) ->
    Text = case unicode:characters_to_list(Name) of
               Characters when is_list(Characters) -> Characters;
               _ -> binary_to_list(iolist_to_binary(Name))
           end,
    << <<(shown(Character))/utf8>> || Character <- lists:sublist(Text, ?LONGEST) >>.

shown(Character) when Character >= $\s ->
    case io_lib:printable_unicode_list([Character]) of
        true -> Character;
        false -> $?
    end;
shown(_Control) ->
    $?.

%% @doc What ssl asks of each certificate: it answers as without it, and tells the process of one that is refused.
-spec verify_fun(pid()) -> {fun(), Initial :: term()}.
verify_fun(Process) ->
    {fun(Certificate, {bad_cert, _} = Reason, _State) ->
             Process ! {?MODULE, refused, name(Certificate)},
             {fail, Reason};
        (_Certificate, {extension, _}, State) -> {unknown, State};
        (_Certificate, valid, State) -> {valid, State};
        (_Certificate, valid_peer, State) -> {valid, State}
     end, none}.

%% @doc The name of the certificate that was refused, by the process that was told.
-spec refused() -> {ok, binary()} | none.
refused() ->
    receive
        {?MODULE, refused, Name} -> {ok, Name}
    after 0 ->
        none
    end.
