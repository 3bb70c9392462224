%% The messages that Megaphone sends to processes. A wake's number is megaphone_nif's: that of a wait, or 0 for a
%% trunk's writer. The others a session sends to itself.
-define(WAKE(Wait), {'$megaphone', Wait}).
-define(WAKE_WRITER, ?WAKE(0)).
%% There is more to read.
-define(READ, {'$megaphone', read}).
%% The shaper's pause is over.
-define(PAUSED, {'$megaphone', paused}).
%% The client takes nothing.
-define(STUCK, {'$megaphone', stuck}).
%% The client's documents did not come back in time.
-define(OVERDUE, {'$megaphone', overdue}).
%% A token's time is over.
-define(EXPIRED(Key), {'$megaphone', {expired, Key}}).
%% A session that has moved has passed on long enough.
-define(LINGERED, {'$megaphone', lingered}).
