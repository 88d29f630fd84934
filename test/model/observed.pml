/* What a case may only watch: one chunk, two workers on it (its message came twice), and leases that their registrars acknowledge at any time, for such a case
   refuses nobody. A worker notes the acknowledged leases that it reads, looks again what is noted, counts it, and ends the chunk; nothing is claimed, so nothing but
   the chunk itself tells one worker of another.
   As it is: a note holds only while the chunk is open and counts the chunk's notes on, in one transaction; the end holds only for the notes that stood when the counting began.
 flags: NOTEBLIND  a note holds whatever the chunk is
        ENDBLIND   the end holds whatever was noted since
        LOOKLATE   the number of notes is read when the counting is over
        CR=n       crashes of workers (default 1); the sweeper sends the chunk again
   Code: functions/store/work.ts (noteWhileOpen, finishChunk), functions/revoke/gather.ts (gather), functions/revoke/work.ts (watchOnly, end).
   Runs:
     holds
     holds -DCR=2
     breaks -DNOTEBLIND : noted after the chunk was counted
     breaks -DENDBLIND : noted between the counting and the end
     breaks -DLOOKLATE
*/
#ifndef CR
#define CR 1
#endif
byte crashes=CR;
bit acked[2]; bit noted[2]; byte notes; bit done; byte told;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
proctype Registrar(byte l) { acked[l]=1; printf("lease %d acknowledged\n",l) }
inline note(l) {
  atomic { a=acked[l]; CRASH };   /* as it reads it: one that is not acknowledged came after the case */
  if :: a -> atomic { if
#ifdef NOTEBLIND
      :: !noted[l] -> noted[l]=1; notes++
#else
      :: !noted[l] && !done -> noted[l]=1; notes++
#endif
      printf("W%d notes %d\n",_pid,l) :: else fi; CRASH } :: else fi
}
proctype Worker() { bit a; byte n, c;
again:
  if :: done -> goto over :: else fi;
  note(0); note(1);
#ifndef LOOKLATE
  atomic { n=notes; CRASH };
#endif
  atomic { c=noted[0]; CRASH };
  atomic { c=c+noted[1]; CRASH };
#ifdef LOOKLATE
  atomic { n=notes; CRASH };
#endif
  atomic { if
#ifdef ENDBLIND
    :: !done -> done=1; told=c
#else
    :: !done && notes==n -> done=1; told=c
#endif
    printf("W%d ends it with %d\n",_pid,c) :: else fi; CRASH };
  atomic { a=0; n=0; c=0; goto again };
dead: atomic { a=0; n=0; c=0; goto again };
over: skip
}
init { atomic { run Registrar(0); run Registrar(1); run Worker(); run Worker() }
 timeout;
 assert(done);
 assert(told==noted[0]+noted[1]);
}
