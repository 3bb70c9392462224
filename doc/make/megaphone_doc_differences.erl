%% @doc What megaphone_same_differences has, a line for each difference, with tabs between: what the client does, by
%% which transport, with which versions of ejabberd, what it hears from ejabberd and behind the ECM, and why. What it
%% hears is several lines, with the character 30 between.
-module(megaphone_doc_differences).

-export([print/0]).

-spec print() -> ok.
print() ->
    lists:foreach(fun({{Scenario, Transport}, Versions, Ejabberd, Ecm, Reason}) ->
                          io:format("~ts~n", [lists:join("\t", [megaphone_same_differences:about(Scenario),
                                                                atom_to_list(Transport), versions(Versions),
                                                                lines(Ejabberd), lines(Ecm), Reason])])
                  end, megaphone_same_differences:all()).

versions(all) -> "all";
versions({before, Version}) -> "before " ++ Version;
versions({since, Version}) -> Version ++ " and newer".

lines(Lines) ->
    lists:join([30], Lines).
