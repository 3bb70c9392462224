%% @doc Writes headers of the PROXY protocol, version 2 (HAProxy's proxy-protocol.txt, 2.2), as each
%% stream of a version 2 trunk begins with one. It knows nothing of ours.
-module(megaphone_test_proxy).

-export([header/1, header/3, client/1, client/2, addresses/2, tlv/2, tlvs/1]).

-export_type([header/0, endpoint/0]).

-define(SIGNATURE, "\r\n\r\n\0\r\nQUIT\n").

-type endpoint() :: {inet:ip_address(), inet:port_number()} | {local, binary()}.
%% Without `source' the family is unspecified, and without `alpn' nobody knows what follows.
-type header() :: #{command => proxy | local,
                    source => endpoint(), destination => endpoint(),
                    alpn => binary(), authority => binary(), unique_id => binary(),
                    %% 0xE0: tcp, tls, websocket or bosh.
                    transport => binary(),
                    %% The name of the TLS version, such as TLSv1.3.
                    tls => binary(),
                    %% More TLVs, by type.
                    more => [{byte(), iodata()}]}.

%% @doc What an ECM says of an HTTP client at 192.0.2.x.
-spec client(endpoint()) -> header().
client(Source) ->
    client(Source, <<"http/1.1">>).

%% @doc The same for a client that speaks another protocol.
-spec client(endpoint(), Alpn :: binary()) -> header().
client(Source, Alpn) ->
    #{source => Source, destination => {{198, 51, 100, 1}, 443}, alpn => Alpn, transport => <<"tcp">>}.

%% @doc The whole header.
-spec header(header()) -> binary().
header(Header) ->
    {Family, Addresses} = case Header of
                              #{source := Source, destination := Destination} ->
                                  addresses(Source, Destination);
                              _ ->
                                  {16#00, <<>>}
                          end,
    Command = case maps:get(command, Header, proxy) of
                  local -> 16#20;
                  proxy -> 16#21
              end,
    header(Command, Family, [Addresses, tlvs(Header)]).

%% @doc One with any bytes in its places: version and command, family and transport, the rest.
-spec header(byte(), byte(), iodata()) -> binary().
header(Command, Family, Rest) ->
    iolist_to_binary([?SIGNATURE, Command, Family, <<(iolist_size(Rest)):16>>, Rest]).

%% @doc The family's byte, for a stream socket, and the address block.
-spec addresses(endpoint(), endpoint()) -> {byte(), binary()}.
addresses({{A, B, C, D}, SourcePort}, {{E, F, G, H}, Port}) ->
    {16#11, <<A, B, C, D, E, F, G, H, SourcePort:16, Port:16>>};
addresses({Source, SourcePort}, {Destination, Port}) when tuple_size(Source) =:= 8 ->
    Octets = << <<Part:16>> || Part <- tuple_to_list(Source) ++ tuple_to_list(Destination) >>,
    {16#21, <<Octets/binary, SourcePort:16, Port:16>>};
addresses({local, Source}, {local, Destination}) ->
    Padded = [[Path, binary:copy(<<0>>, 108 - byte_size(Path))] || Path <- [Source, Destination]],
    {16#31, iolist_to_binary(Padded)}.

%% @doc All TLVs of a header.
-spec tlvs(header()) -> iodata().
tlvs(Header) ->
    Known = [{16#01, alpn}, {16#02, authority}, {16#05, unique_id}, {16#e0, transport}],
    [[tlv(Type, maps:get(Name, Header)) || {Type, Name} <- Known, is_map_key(Name, Header)],
     %% 1: by TLS; no certificate was shown, so none was verified.
     [tlv(16#20, [<<1, 1:32>>, tlv(16#21, Version)]) || #{tls := Version} <- [Header]],
     [tlv(Type, Value) || {Type, Value} <- maps:get(more, Header, [])]].

-spec tlv(byte(), iodata()) -> iodata().
tlv(Type, Value) ->
    [Type, <<(iolist_size(Value)):16>>, Value].
