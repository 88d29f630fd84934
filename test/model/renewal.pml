/* Renewal, sweeper, fence. Renewal: expiry write, look at fences, extend at the issuer (may mint anew). 
 flags: SWBLIND sweeper's write not conditional on the expiry it saw; REMINT renewal at the issuer brings a dead credential back / makes a new one (token refresh)
        RENMARK (fix) renewal writes 'renewing' on the lease with the expiry; no outcome is final until it is cleared or its time has passed
   Code: functions/register/holder.ts (renew), store/leases.ts (asTaken), domain/settle.ts (unsettledUntil), sweep/sweep.ts (sweepExpired).
   Runs:
     holds -DFENCE -DREMINT -DRENMARK
     breaks -DFENCE -DREMINT
     breaks -DSWBLIND
*/
#ifndef CR
#define CR 1
#endif
#ifdef SWBLIND
#define SWC true
#else
#define SWC (x==s)
#endif
byte crashes=CR;
byte st=2; byte x=1; byte now=0; bit fence; bit alive=1; bit ren; bit renack; bit sweptEarly; bit final; byte renewtime; bit rdead;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
proctype Renew() { bit f;
 atomic { if :: st==2 -> x=2;
#ifdef RENMARK
   ren=1;
#endif
   printf("renew: expiry 2\n") :: else -> printf("renew refused\n"); rdead=1; goto fin fi; CRASH };
 atomic { f=fence; CRASH };
 if :: !f -> atomic {
#ifdef REMINT
    alive=1;
#endif
    printf("issuer extends\n"); CRASH };
    atomic { ren=0; if :: st==2 -> renack=1; printf("renewal ack\n") :: else fi }
 :: else -> ren=0 fi; 
dead: fin: rdead=1 /* mark's time is over once the renewer is dead */
}
proctype Clock() { now=1; now=2 }
inline cut() {
#ifdef RENMARK
  do :: atomic { alive=0; a=(ren && !rdead); printf("cut (renewing %d)\n",a) }; if :: a -> (!ren || rdead) :: else -> break fi od;
#else
  atomic { alive=0; printf("cut\n") };
#endif
  st=4
}
proctype Sweep() { byte s; bit a;
again:
end: atomic { now>=x && st==2 -> s=x };
 atomic { if :: st==2 && SWC -> st=3; printf("sweeper takes, expiry seen %d, is %d\n",s,x); if :: x>now -> sweptEarly=1 :: else fi :: else -> goto again fi };
 cut()
}
proctype CaseP() { bit a; fence=1; printf("fence\n"); atomic { if :: st==2 -> st=3 :: else -> goto fin fi }; cut(); fin: skip }
init { atomic { run Renew(); run Clock(); run Sweep();
#ifdef FENCE
 run CaseP();
#endif
 }
 timeout; printf("end st %d alive %d\n",st,alive); assert(!sweptEarly); assert(st==4 && !alive); }
