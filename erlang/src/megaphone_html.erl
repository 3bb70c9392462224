%%% @doc Elements of a page of WebAdmin. All text in them is text: ejabberd escapes it as it writes the page.
-module(megaphone_html).

-export([tag/2, tag/3, text/2, table/2]).

-export_type([element/0, cell/0]).

-type element() :: fxml:xmlel() | {xmlcdata, binary()}.
-type cell() :: integer() | binary() | {lines, [binary()], [element()]}.

%% @doc An element without attributes.
-spec tag(binary(), [element()]) -> fxml:xmlel().
tag(Name, Children) ->
    tag(Name, [], Children).

%% @doc An element.
-spec tag(binary(), [{binary(), binary()}], [element()]) -> fxml:xmlel().
tag(Name, Attributes, Children) ->
    {xmlel, Name, Attributes, Children}.

%% @doc An element with text.
-spec text(binary(), iodata()) -> fxml:xmlel().
text(Name, Text) ->
    tag(Name, [{xmlcdata, iolist_to_binary(Text)}]).

%% @doc A table; without a head if the head is empty. A cell may have lines, and elements behind them.
-spec table([binary()], [[cell()]]) -> fxml:xmlel().
table(Head, Rows) ->
    tag(<<"table">>,
        [tag(<<"thead">>, [tag(<<"tr">>, [text(<<"td">>, Cell) || Cell <- Head])]) || Head =/= []]
        ++ [tag(<<"tbody">>, [tag(<<"tr">>, [cell(Cell) || Cell <- Row]) || Row <- Rows])]).

cell(Number) when is_integer(Number) ->
    tag(<<"td">>, [{<<"class">>, <<"alignright">>}], [{xmlcdata, integer_to_binary(Number)}]);
cell({lines, Lines, Elements}) ->
    tag(<<"td">>, lists:join(tag(<<"br">>, []), [{xmlcdata, Line} || Line <- Lines]) ++ Elements);
cell(Text) ->
    text(<<"td">>, Text).
