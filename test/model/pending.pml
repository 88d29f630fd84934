/* Pending lease with a name; may be minted until T. Time: bit past (T passed). Minter may mint more than once (retry) until T (+ flight SKEW).
 flags: NOWAIT absent final at once; REVFINAL: 'revoked' is final before T; ANYATT: absent after an earlier absent answer counts as revoked; SKEW: a mint call in flight lands after T; MARGIN: reviser waits until T + flight time
   Code: functions/register/register.ts (intents), register/holder.ts (confirm), domain/settle.ts.
   Runs:
     holds -DSKEW -DMARGIN
     breaks -DSKEW
     breaks -DNOWAIT
     breaks -DREVFINAL
     holds -DSKEW -DMARGIN -DCR=2
*/
#ifndef CR
#define CR 1
#endif
#ifdef SKEW
#define SKEWF true
#else
#define SKEWF false
#endif
#ifdef MARGIN
#define WAITP (past && !inflight)
#else
#define WAITP (past)
#endif
byte crashes=CR;
bit past; bit alive; byte mints; bit fence; bit ack; bit inflight; bit landed; byte out; bit confirmed; bit att; bit ourkill; byte st=0; /* 0 none 1 pending 2 live 3 cutting 4 final */
bit nonewflight; byte again_n; bit noretry;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
proctype Client() {
 atomic { st=1; printf("pending lease written\n") };
 atomic { if :: !fence -> ack=1; printf("ack: may mint\n") :: else -> printf("refused\n"); goto fin fi };
 do
 :: atomic { mints<2 && !past -> inflight=1; mints++; printf("mint call leaves\n") };
    atomic { (!past || SKEWF) -> alive=1; inflight=0; printf("mint lands (past T: %d)\n",past) };
    if :: atomic { st==1 -> st=2; printf("confirmed\n") } :: skip fi
 :: break
 od;
fin: skip
}
proctype Clock() { atomic {
#ifndef SKEW
 !inflight ->
#endif
 past=1; printf("T passes\n") } 
}
proctype Rev() { byte r; bit a; bit p;
 atomic { st>0 -> fence=1; printf("fence\n") };
again:
 atomic { if :: st<3 -> st=3 :: else fi; a=att; att=1; CRASH };
 atomic { p=WAITP; if :: alive -> alive=0; ourkill=1; r=1 :: else -> r=3 fi; printf("revoke: %d (past T %d)\n",(r),p);
   if :: crashes>0 -> crashes--; printf("   crash, answer lost\n"); goto dead :: true fi };
 if
 :: r==3 -> 
#ifndef NOWAIT
   if :: !p -> atomic {
#ifndef ANYATT
       att=a;
#endif
       CRASH }; WAITP; goto again :: else fi;
#endif
   atomic { out=(a -> 1 : 2); st=4; CRASH }
 :: r==1 ->
#ifndef REVFINAL
   if :: !p -> atomic { att=1; CRASH }; WAITP; goto again :: else fi;
#endif
   atomic { out=1; st=4; CRASH }
 fi; goto fin;
dead: if :: st==4 -> goto fin :: else -> goto again fi;
fin: r=0;a=0;p=0
}
init { atomic { run Client(); run Clock(); run Rev() }
 timeout;
 printf("end out %d alive %d ourkill %d\n",out,alive,ourkill);
 assert(st==4); assert(!alive); assert(out!=1 || ourkill || CR>0); assert(out!=2 || !ourkill);
}
