/* Shared credential F. Leases 0 (task case A), 1 (task case B), 2 (third grant, identity of its own, retried with the same key).
 K = compromise of the identity that holds lease 0 (flag COMP). Sweeper = case B is an expiry (same steps).
 flags: SPLIT   registration writes lease and CRED holders+1 as two writes (protocol 1: 'no transaction')
        BLINDACK ack not conditional on the lease still being 'registering'/live
        NOBYST  a compromise cut does not mark the other holders' leases
        STATEDEC  the compromise decrements holders whatever state the lease was in (released already gave its place back)
        LAZYB   second step of a lifecycle end reads holders first, then writes unconditionally (no transaction)
   Code: functions/store/leases.ts (recordLease, releaseOperations, claimOperations, markCutting), domain/decide.ts (endOfGrant).
   Runs:
     holds
     holds -DCOMP
     breaks -DSPLIT
     breaks -DBLINDACK -DCOMP
     breaks -DCOMP -DNOBYST
     breaks -DCOMP -DSTATEDEC
     breaks -DLAZYB
     holds -DCR=2
*/
#define NONE 0
#define REG 1
#define LIVE 2
#define CUTTING 3
#define RELEASED 4
#define FINAL 5
#ifndef CR
#define CR 1
#endif
byte crashes=CR;
byte st[3]; short holders; bit cutting; bit alive=1; bit acked[3]; bit compromised; bit everlive2; bit out[3]; bit ended[3];
byte cutLegit; bit refused; byte tries; bit bystdone; bit lockd;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
#define LIVEH(i) (st[i]==REG || st[i]==LIVE)
inline effect(who) {
  atomic { if :: alive -> printf("%d cuts F\n",who); alive=0; assert(compromised || !(LIVEH(0)||LIVEH(1)||LIVEH(2))) :: else fi; CRASH }
}
proctype End(byte i) { /* lifecycle end of lease i (task-complete, sweeper, give-back): delivered until it sticks */
 byte s; short h;
again:
 atomic { s=st[i]; h=holders; CRASH }
 if
 :: s==LIVE || s==REG ->
#ifdef LAZYB
   atomic { if :: h>1 -> st[i]=RELEASED :: else -> st[i]=CUTTING; cutting=1 fi; holders--; printf("E%d %d\n",i,st[i]); CRASH };
#else
   atomic { /* TransactWrite: lease cond state as read, CRED cond holders as read */
     if :: st[i]==s && holders==h -> holders--; if :: cutting -> st[i]=CUTTING :: !cutting && h>1 -> st[i]=RELEASED :: else -> st[i]=CUTTING; cutting=1 fi; printf("E%d lease state %d holders %d\n",i,st[i],holders)
     :: else fi; CRASH };
#endif
   goto again
 :: s==CUTTING -> effect(i); atomic { st[i]=FINAL; CRASH }
 :: else
 fi;
 goto fin;
dead: goto again;
fin: ended[i]=1; s=0; h=0
}
proctype Reg2() { byte s; bit ok;
again: tries++;
#ifdef SPLIT
 atomic { if :: cutting -> refused=1; goto fin :: else -> if :: st[2]==NONE -> st[2]=REG; ok=1 :: else -> ok=0 fi fi; CRASH };
 if :: ok -> atomic { holders++; printf("R holders %d\n",holders); CRASH } :: else fi;
#else
 atomic { if :: st[2]==NONE && cutting -> printf("R refused: being cut\n"); goto fin :: st[2]==NONE && !cutting -> st[2]=REG; holders++; printf("R lease+holders %d\n",holders) :: else -> printf("R already there, state %d\n",st[2]) fi; CRASH };
#endif
 /* fences of its own scopes are open in this model */
#ifdef BLINDACK
 atomic { if :: st[2]==REG -> st[2]=LIVE :: else fi; acked[2]=1; printf("R ACK, F alive %d\n",alive); assert(alive); CRASH };
#else
 atomic { if :: st[2]==REG || st[2]==LIVE -> st[2]=LIVE; acked[2]=1; printf("R ACK, F alive %d cutting %d\n",alive,cutting); assert(alive||compromised); CRASH :: else -> printf("R refused, over\n") fi };
#endif
 if :: tries<2 -> goto again :: goto fin fi;
dead: if :: tries<2 -> goto again :: goto fin fi;
fin: s=0; ok=0
}
proctype Sweep2() { /* half registered or ended in its time: lease 2's own end */
 if :: atomic { st[2]==REG || st[2]==LIVE -> skip }; run End(2) :: atomic { timeout -> skip } fi
}
proctype Comp() { byte s; byte b;
again:
 atomic { compromised=1; cutting=1; printf("K cutting:=1\n"); CRASH };   /* credential item first: no new grant after this */
 atomic { s=st[0];
#ifdef STATEDEC
   if :: s!=FINAL -> holders-- :: else fi;
#else
   if :: s==LIVE || s==REG -> holders-- :: else fi;
#endif
   if :: s!=FINAL -> st[0]=CUTTING :: else fi; printf("K takes lease 0 from state %d holders %d\n",s,holders); assert(holders>=0); CRASH };
#ifndef NOBYST
 b=1;
 do :: b<3 -> atomic { if :: LIVEH(b) -> st[b]=CUTTING; holders--; printf("K names bystander %d\n",b) :: else fi; b++; CRASH } :: else -> break od;
#endif
 effect(9);
 atomic { st[0]=FINAL; CRASH };
#ifndef NOBYST
 b=1;
 do :: b<3 -> atomic { if :: st[b]==CUTTING -> st[b]=FINAL :: else fi; b++; CRASH } :: else -> break od;
#endif
 goto fin;
dead: goto again;
fin: s=0;b=0
}
init { atomic { st[0]=LIVE; st[1]=LIVE; holders=2; acked[0]=1; acked[1]=1;
 run End(0);
#ifndef KEEP1
 run End(1);
#endif
#ifndef NOREG
 run Reg2();
#ifdef END2
 run Sweep2();
#endif
#endif
#ifdef COMP
 run Comp();
#endif
 }
 timeout;
 printf("end st %d %d %d holders %d alive %d\n",st[0],st[1],st[2],holders,alive);
 /* G2/G1: alive iff a live holder is left, unless compromised */
 assert(holders == (LIVEH(0)+LIVEH(1)+LIVEH(2)));
 assert(compromised || (alive == (LIVEH(0)||LIVEH(1)||LIVEH(2))));
 assert(!compromised || (!alive && !LIVEH(0)&&!LIVEH(1)&&!LIVEH(2)));
}
