/* A late lease that its amendment parks and tries again, and two workers at that amendment (its message came twice): each claims the next attempt by the lease's generation,
   calls the issuer, writes what came of it, and whoever is first counts it and ends the amendment. What is parked stays in its state: neither that nor the attempt that is under way
   shows a second worker that it was counted. The sweeper opens the amendment of a parked lease again, to be counted once more.
   As it is: an attempt on what is parked is claimed only while the amendment is open; parking counts the generation on; nothing that is being tried is counted; the end of an amendment that counts a parked lease holds only for
   the version that it counted.
 flags: UNGUARDED  an attempt on what is parked is claimed whatever became of the amendment
        STANDS     parking leaves the generation as it is
        COUNTSHELD what is parked is counted though another worker has begun to try it again
        ENDBLIND   the end holds whatever became of the lease since it was counted
        CR=n       crashes of workers (default 1); the sweeper sends the amendment again
   Code: functions/revoke/gather.ts (gather), functions/store/work.ts (whileOpen, finishChunk), functions/store/leases.ts (intend, finish), functions/store/amendments.ts (reopenAmendment).
   Runs:
     holds
     holds -DCR=2
     breaks -DUNGUARDED
     breaks -DSTANDS : answered late, it ends what another worker had parked and counted
     breaks -DCOUNTSHELD : tried again while the first worker counts it
     breaks -DENDBLIND
*/
#ifndef CR
#define CR 1
#endif
#define PARKED 1
#define REVOKED 2
byte crashes=CR; byte sweeps=1; byte tries=4; /* two may overtake each other for ever: so many attempts are searched */
bit open=1; byte told; bit ended; byte out; byte gen; byte v; bit held; /* an attempt has begun that nobody knows the end of */
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
proctype Worker() { byte g, p, c, seen; bit answer;
again:
end: atomic { open -> skip };
    atomic { g=gen; p=out; c=ended; CRASH };
    if
    :: c -> skip
    :: else ->
      atomic { if
#ifdef UNGUARDED
        :: !ended && gen==g && tries>0 -> tries--; gen++; g=gen; v++; held=1; printf("W%d tries\n",_pid)
#else
        :: !ended && gen==g && tries>0 && (p!=PARKED || open) -> tries--; gen++; g=gen; v++; held=1; printf("W%d tries\n",_pid)
#endif
        :: tries==0 -> goto over
        :: else -> goto again fi; CRASH };
      atomic { if :: answer=0 :: answer=1 fi; printf("W%d is answered %d\n",_pid,answer); CRASH };
      atomic { if
        :: !ended && gen==g && answer -> ended=1; out=REVOKED; v++; held=0; printf("W%d revoked\n",_pid)
        :: !ended && gen==g && !answer -> out=PARKED; v++; held=0;
#ifndef STANDS
          gen++;
#endif
          printf("W%d parks\n",_pid)
        :: else -> goto again fi; CRASH }
    fi;
#ifdef COUNTSHELD
    atomic { c=out; seen=v; CRASH };
#else
    atomic { c=out; seen=v; if :: c==PARKED && held -> goto again :: else fi; CRASH };
#endif
    atomic { if
#ifdef ENDBLIND
      :: open && c!=0 -> open=0; told=c; printf("W%d ends it with %d\n",_pid,c)
#else
      :: open && c!=0 && (c!=PARKED || v==seen) -> open=0; told=c; printf("W%d ends it with %d\n",_pid,c)
#endif
      :: else fi; CRASH };
dead: atomic { g=0; p=0; c=0; seen=0; answer=0; goto again };
over: atomic { g=0; p=0; c=0; seen=0; answer=0 }
}
/* The sweeper opens it again, and sends it. */
proctype Sweeper() {
end: atomic { !open && out==PARKED && !ended && sweeps>0 -> sweeps--; open=1; printf("tried again\n") }
}
init { atomic { run Worker(); run Worker(); run Sweeper() }
 timeout;
 assert(open -> tries==0 : told==out);
}
