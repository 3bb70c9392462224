%% @doc XML as the test clients need it: text to trees, and questions to a tree. Trees are those of
%% ejabberd's own parser, fxml.
-module(megaphone_test_xml).

-export([parse/1, name/1, namespace/1, attribute/2, attributes/1, children/1, child/2, text/1,
         escape/1, encode/1]).

-export_type([element/0]).

-type element() :: {xmlel, Name :: binary(), Attributes :: [{binary(), binary()}],
                    Children :: [element() | {xmlcdata, binary()}]}.

%% @doc The tree of one whole document.
-spec parse(iodata()) -> element() | {error, {not_xml, Reason :: term(), binary()}}.
parse(Text) ->
    Binary = iolist_to_binary(Text),
    case fxml_stream:parse_element(Binary) of
        {error, Reason} -> {error, {not_xml, Reason, Binary}};
        Element -> Element
    end.

-spec name(element()) -> binary().
name({xmlel, Name, _, _}) ->
    Name.

%% @doc The value of `xmlns', empty where it is inherited.
-spec namespace(element()) -> binary().
namespace(Element) ->
    attribute(<<"xmlns">>, Element).

%% @doc The attribute's value, empty if it isn't there.
-spec attribute(binary(), element()) -> binary().
attribute(Name, {xmlel, _, Attributes, _}) ->
    proplists:get_value(Name, Attributes, <<>>).

-spec attributes(element()) -> [{binary(), binary()}].
attributes({xmlel, _, Attributes, _}) ->
    Attributes.

%% @doc The child elements, without the text between them.
-spec children(element()) -> [element()].
children({xmlel, _, _, Children}) ->
    [Child || {xmlel, _, _, _} = Child <- Children].

%% @doc The first child element of that name.
-spec child(binary(), element()) -> element() | undefined.
child(Name, Element) ->
    case [Child || Child <- children(Element), name(Child) =:= Name] of
        [First | _] -> First;
        [] -> undefined
    end.

%% @doc The text directly inside the element.
-spec text(element()) -> binary().
text({xmlel, _, _, Children}) ->
    << <<Text/binary>> || {xmlcdata, Text} <- Children >>.

%% @doc Text or an attribute's value, made safe to stand in XML.
-spec escape(iodata()) -> binary().
escape(Text) ->
    << <<(escape_byte(Byte))/binary>> || <<Byte>> <= iolist_to_binary(Text) >>.

%% @doc The text of a tree.
-spec encode(element()) -> binary().
encode(Element) ->
    fxml:element_to_binary(Element).

escape_byte($&) -> <<"&amp;">>;
escape_byte($<) -> <<"&lt;">>;
escape_byte($>) -> <<"&gt;">>;
escape_byte($") -> <<"&quot;">>;
escape_byte($') -> <<"&apos;">>;
escape_byte(Byte) -> <<Byte>>.
