/* A lease that was cut lives again, is cut again or parked, and is parked and tried again: one amendment does it all, again and again.
 ENDEDONCE  : the amendment's end takes a lease for cut that the case ended once, whatever it says of it now: it watches what is parked
 WATCHBLOCKS: as the fix, but only what was never watched is opened again for a parked lease
   default (fix): what is watched is what the case now says it revoked
   Code: functions/revoke/work.ts (end), revoke/watch.ts (look), store/watch.ts (resurrect), store/amendments.ts (amend, reopenAmendment).

   The issuer may fail F times, and somebody may revive the credential R times; a worker may be killed between any two writes. At
   the end of it all the credential is dead. The watch of what is not ended has nothing to look at, and is far from over.
   Runs:
     holds
     breaks -DENDEDONCE
     breaks -DWATCHBLOCKS
     holds -DF=3 -DR=3 -DCR=2
*/
#ifndef F
#define F 2
#endif
#ifndef R
#define R 2
#endif
#ifndef CR
#define CR 1
#endif
mtype = { NONE, REVOKED, PARKED, OPEN, DONE, REVOKE, WATCH, OVER };
bit alive=1; bit ended=0; bit once=0; bit watched=0; mtype outcome=NONE; mtype amendment=OPEN; mtype step=REVOKE;
byte fails=F; byte revives=R; byte crashes=CR;
#define CRASH if :: crashes>0 -> crashes--; printf("   killed\n"); goto again :: true fi
#ifdef ENDEDONCE
#define CUT once
#else
#define CUT (outcome==REVOKED)
#endif
#ifdef WATCHBLOCKS
#define MAYOPEN (step==OVER && !watched)
#else
#define MAYOPEN (step==OVER)
#endif
proctype Worker() {
again:
end: if
 :: atomic { amendment==OPEN && outcome==NONE -> if
      :: alive=0; printf("cut\n")
      :: fails>0 -> fails--; outcome=PARKED; printf("parked\n"); goto again
    fi };
    CRASH;
    /* verified dead and written in one: what is alive by then is cut once more */
    atomic { if :: !alive -> outcome=REVOKED; ended=1; once=1; printf("revoked\n") :: else fi; CRASH }
 :: atomic { amendment==OPEN && outcome!=NONE -> amendment=DONE; if :: CUT -> step=WATCH; watched=1; printf("watches\n") :: else -> step=OVER; printf("over\n") fi; CRASH }
 fi; goto again }
proctype Watch() {
again:
end: atomic { step==WATCH && amendment==DONE && ended && alive -> ended=0; outcome=NONE; amendment=OPEN; step=REVOKE; printf("seen alive\n") }; goto again }
proctype Sweep() {
again:
end: atomic { outcome==PARKED && amendment==DONE && MAYOPEN -> amendment=OPEN; step=REVOKE; outcome=NONE; printf("tried again\n") }; goto again }
proctype Somebody() {
again:
end: atomic { revives>0 && !alive && ended && step==WATCH -> revives--; alive=1; printf("revived\n") }; goto again }
init { atomic { run Worker(); run Watch(); run Sweep(); run Somebody() } timeout; assert(!alive) }
