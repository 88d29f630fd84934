/* The same static credential F re-registered in the new epoch while the compromise case of the old epoch has not reached it.
 FIX: reinstatement waits until the compromise cases of the fenced epoch are closed (each lease final or parked with CRED marked 'cutting')
   Code: functions/store/reinstatements.ts, store/leases.ts (recordLease).
   Runs:
     holds -DFIX
     breaks
*/
byte E=1; byte F; bit cutting; bit alive=1; bit ack2; bit c1closed; byte crashes=1;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
proctype C1() {
again: atomic { F=1; printf("C1 fences epoch 1\n"); CRASH };
 atomic { cutting=1; printf("C1 marks credential\n"); CRASH };
 atomic { alive=0; printf("C1 cuts credential\n"); CRASH };
 c1closed=1; goto fin;
dead: goto again;
fin: skip }
proctype R() { F==1;
#ifdef FIX
 c1closed;
#endif
 E=2; printf("reinstated\n") }
proctype Reg() { E==2; atomic { if :: !cutting -> printf("epoch 2 registers the same credential\n") :: else -> printf("refused\n"); goto fin fi }; atomic { if :: F<2 -> ack2=1; printf("ack\n") :: else fi }; fin: skip }
init { atomic { run C1(); run R(); run Reg() } timeout; assert(!(ack2 && !alive)) }
