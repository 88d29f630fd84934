/* A lever pushed back while another case pulls it.
   Code: functions/revoke/contain.ts, revoke/restore-levers.ts (pushLever), store/levers.ts (openLever, beginRelease, endRelease).

   Case 0 had pulled the lever and is undone: a restoration notes that it is about to push it back, only while no case but
   case 0 is noted as pulling, calls, and takes case 0's note away. Case 1 notes that it pulls, then pulls, and pulls again
   where a restoration was at it. A call that was sent may be carried out after its sender died, until the note's time is over.
     CR=n       so many crashes (default 1)
   Deviations:
     AFTERONLY  case 1 looks for a restoration after its call alone: the note may be gone by then
     NOLOOK     case 1 does not look at all
     BLIND      the restoration's note is not conditional on who is noted as pulling
     CALLFIRST  case 1 pulls before it notes that it does
   Runs:
     holds
     holds -DCR=2
     breaks -DAFTERONLY
     breaks -DNOLOOK
     breaks -DBLIND
     breaks -DCALLFIRST
*/
#ifndef CR
#define CR 1
#endif
byte crashes = CR;
bit pulls[2]; bit releasing; bit denied = 1; byte flying; bit done1; bit landed;
#define CRASH if :: atomic { crashes > 0 -> crashes--; printf("   crash\n") } goto dead :: true fi

proctype Issuer() {
end:
  do :: atomic { flying > 0 -> flying--; landed = 1; denied = 0; printf("pushed back\n") } od
}

proctype Restore() { bit other;
again:
  atomic { other = pulls[1]; if :: !pulls[0] -> goto fin :: else fi; CRASH }
#ifndef BLIND
  if :: other -> goto fin :: else fi; /* case 1 holds it: refused, or waited for */
#endif
  atomic {
#ifdef BLIND
    if :: true ->
#else
    if :: pulls[1] == other ->
#endif
      releasing = 1; flying++; landed = 0; printf("about to push it back\n")
    :: else -> goto again fi; CRASH }
  flying == 0;
  CRASH;
  atomic { if :: releasing -> releasing = 0; pulls[0] = 0; printf("its note is gone\n") :: else fi; CRASH }
  goto fin;
dead:
  atomic { flying == 0 -> releasing = 0 } /* the note's time is over, and with it that of the call */
  goto again;
fin: other = 0
}

proctype Contain() { bit before;
again:
#ifdef CALLFIRST
  atomic { denied = 1; printf("case 1 pulls\n"); CRASH }
  atomic { pulls[1] = 1; CRASH }
#else
  atomic { pulls[1] = 1; CRASH }
pull:
  atomic { before = releasing; CRASH }
  atomic { denied = 1; printf("case 1 pulls\n"); CRASH }
#ifdef AFTERONLY
  before = 0;
#endif
#ifndef NOLOOK
  if :: before || releasing -> !releasing; goto pull :: else fi;
#endif
#endif
  atomic { done1 = 1; printf("case 1: pulled\n"); CRASH }
  goto fin;
dead: goto again;
fin: before = 0
}

init {
  atomic { pulls[0] = 1; run Issuer(); run Restore(); run Contain() }
  timeout;
  printf("end: denied %d, noted %d %d\n", denied, pulls[0], pulls[1]);
  assert(done1 && denied && pulls[1]);
}
